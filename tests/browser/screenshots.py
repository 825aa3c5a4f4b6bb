"""Every page of the console as a picture, at desktop and phone width, light and dark, with data.

`python -m tests.browser.screenshots DIR [NAME…]`; of a long list the beginning.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, FloatRect, Page

from pipeline import operations
from pipeline.broker.port import Depths
from pipeline.broker.topology import TOPOLOGY
from pipeline.matching import SHANGHAI
from pipeline.operations_users import Role, add_user
from pipeline.secret import Secret
from pipeline.store import history, tasks
from pipeline.store.engine import Transaction
from pipeline.store.queries_reconciliation import BreakFilter, page_of_breaks
from tests.browser.busy_day import make_busy
from tests.browser.chromium import chromium
from tests.browser.desk_data import DeskData
from tests.browser.money_data import make_bill, make_many
from tests.browser.people_data import make_people
from tests.browser.site import DESKTOP, PHONE, Site, site_at, watched_page
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, OTHER_AGENT

LONGEST = 1_800  # pixels
WAITING = Depths({queue.name: 7 * place for place, queue in enumerate(TOPOLOGY.queues)})


@dataclass(frozen=True)
class Picture:
    """`path` may name an order: {settled}, {abnormal}, {held}. `who`: nobody is signed in where it is empty."""

    name: str
    path: str
    who: str = "alice"
    open: str = ""  # the text of a summary that is opened first


PICTURES = (
    Picture("login", "/login", ""),
    Picture("start", "/start/{token}", ""),
    Picture("confirm", "/confirm?next=/users"),
    Picture("orders", "/orders"),
    Picture("orders-agent", "/orders", "carol"),
    Picture("orders-none", "/orders?state=no_ticket"),
    Picture("orders-quick", "/orders?quick=failed", "carol"),
    Picture("order", "/orders/{settled}"),
    Picture("order-held", "/orders/{held}", "carol"),
    Picture("order-abnormal", "/orders/{abnormal}"),
    Picture("overview", "/overview"),
    Picture("home", "/"),
    Picture("home-agent", "/", "carol"),
    Picture("statistics", "/statistics"),
    Picture("statistics-agent", "/statistics", "carol"),
    Picture("announcements", "/announcements", open="发布公告"),
    Picture("announcements-agent", "/announcements", "carol"),
    Picture("payment-settings", "/settings/payment?agent=xcslw"),
    Picture("payment-settings-agent", "/settings/payment", "carol"),
    Picture("users-agent", "/users", "carol"),
    Picture("tasks", "/tasks"),
    Picture("tasks-closed", "/tasks?state=closed"),
    Picture("task", "/tasks/{task}"),
    Picture("task-hand-over", "/tasks/{task}", open="转交"),
    Picture("controls", "/controls"),
    Picture("controls-confirm", "/controls", open="暂停"),
    Picture("order-paused", "/orders/{ready}"),
    Picture("users", "/users"),
    Picture("users-confirm", "/users", open="停用"),
    Picture("audit-log", "/audit-log"),
    Picture("account", "/account"),
    Picture("dead-letters", "/dead-letters"),
    Picture("dead-letters-discard", "/dead-letters", open="丢弃所选"),
    Picture("dead-letters-none", "/dead-letters?reason=crash_loop"),
    Picture("dead-letter", "/dead-letters/{letter}"),
    Picture("dead-letter-refused", "/dead-letters/{refused}"),
    Picture("dead-letter-raw", "/dead-letters/{raw}/raw"),
    Picture("replays", "/dead-letters/replays"),
    Picture("replay-checked", "/dead-letters/replays/{job_checked}"),
    Picture("replay-running", "/dead-letters/replays/{job_running}"),
    Picture("replay-done", "/dead-letters/replays/{job_done}"),
    Picture("abnormals", "/abnormal"),
    Picture("abnormal", "/abnormal/{abnormal}"),
    Picture("abnormal-pending", "/abnormal/{abnormal_pending}"),
    Picture("problem-403", "/audit-log", "carol"),
    Picture("funds", "/funds"),
    Picture("fund", "/funds/xcslw"),
    Picture("fund-top-up", "/funds/xcslw", open="充值"),
    Picture("fund-agent", "/funds", "carol"),
    Picture("fund-short", "/funds", "dave"),
    Picture("trial-balance", "/trial-balance"),
    Picture("sales", "/reports/sales?since={day}"),
    Picture("sales-agent", "/reports/sales?since={day}", "carol"),
    Picture("reconciliation", "/reconciliation"),
    Picture("reconciliation-upload", "/reconciliation", open="上传账单"),
    Picture("reconciliation-agent", "/reconciliation", "carol"),
    Picture("bill", "/reconciliation/bills/1"),
    Picture("break", "/reconciliation/breaks/{differs}"),
    Picture("break-free", "/reconciliation/breaks/{free}"),
    Picture("problem-404", "/orders/no-such-order"),
)


def take(browser: Browser, site: Site, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """All pictures, or those that are named, on both widths, in light and in dark."""
    places = dict(zip(("paid", "ready", "held", "doubt", "abnormal", "settled"), site.orders, strict=False))
    places["token"] = site.house.write(first_steps).reveal()
    places |= DeskData(site).fill()
    make_people(site.house)
    places |= _money(site)
    make_busy(site.house)  # last: it pauses an agent
    places["task"] = str(max(task.id for task in site.house.read(tasks.find)))
    taken: list[Path] = []
    sessions: dict[str, str] = {}
    for width, options in (("desktop", DESKTOP), ("phone", {**PHONE, "device_scale_factor": 1})):
        for scheme in ("light", "dark"):
            for picture in PICTURES:
                if names and picture.name not in names:
                    continue
                with watched_page(browser, site, options) as page:
                    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                    path = folder / f"{picture.name}-{width}-{scheme}.png"
                    _take(page, site, sessions, picture, places, path)
                    taken.append(path)
    return taken


def _money(site: Site) -> dict[str, str]:
    """Some weeks of payments, a bill that does not agree with them, and a fund that will not do."""
    make_many(site.house, 120)
    mine = Orders(site.house.store, AGENT, site.house.desk.vault_key)
    mine.made += ["-"] * 700
    operations.upload_bill(site.house.write, "20141117_账务明细.csv", make_bill(site.house, mine), "human:bob")
    others = Orders(site.house.store, OTHER_AGENT, site.house.desk.vault_key)
    others.made += ["-"] * 700
    for _ in range(45):
        others.requested()
    breaks = site.house.read(lambda tx: page_of_breaks(tx, BreakFilter())).rows
    differs = next(one for one in breaks if one["kind"] == "differs")
    site.house.write(lambda tx: operations.note_break(tx, differs["id"], "已问支付宝客服, 等回复", "human:bob"))
    site.house.write(lambda tx: operations.take_task(tx, differs["task_id"], "human:bob"))
    free = next(one for one in breaks if one["order_no"] is None)
    day = site.house.clock.now().astimezone(SHANGHAI).date()
    return {"differs": str(differs["id"]), "free": str(free["id"]), "day": day.isoformat()}


def first_steps(tx: Transaction) -> Secret:
    """A few acts for the audit log, and a user who has not come yet."""
    history.audit(tx, "human:bob", "dead_letters.replay", "17", result="refused", why="占座已过支付期限, 请重新占座")
    history.audit(tx, "human:alice", "pause.agent", "xcslw", reason="代理商要求暂停", closed_attempts=2)
    new = add_user(tx, "frank", Role.OPERATOR, None, None, "human:alice")
    assert new.link is not None
    return new.link


def _take(
    page: Page, site: Site, sessions: dict[str, str], picture: Picture, places: dict[str, str], path: Path
) -> None:
    if picture.who:
        if picture.who not in sessions:  # each sign-in moves the clock, and is an act in the log
            sessions[picture.who] = site.house.session(picture.who)
        page.context.add_cookies([{"name": "daifu_session", "value": sessions[picture.who], "url": site.url}])
    page.goto(picture.path.format(**places))
    if picture.open:
        page.locator("summary", has_text=picture.open).last.click()
    width, height = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    clip = FloatRect(x=0, y=0, width=width, height=min(height, LONGEST))
    page.screenshot(path=path, full_page=True, clip=clip)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (
        chromium(print) as browser,
        tempfile.TemporaryDirectory() as home,
        site_at(Path(home), depths=WAITING) as site,
    ):
        for path in take(browser, site, folder, sys.argv[2:]):
            print(path)


if __name__ == "__main__":
    main()
