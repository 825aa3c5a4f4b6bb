"""代付设置 in virtual time: what an agent sets on the page is what the next payment logs in with."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pipeline.cli.simulation.house import House
from pipeline.cli.simulation.trips import AGENT, SAMPLE, hold_body, order_paid
from pipeline.cli.simulation.virtual_loop import run_virtual
from pipeline.console.app import create_app
from pipeline.console.desk import Desk
from pipeline.operations_users import Role, add_user
from pipeline.passwords import Passwords
from pipeline.settings import Settings
from pipeline.store.engine import Store, open_store
from pipeline.store.moments import watch_commits
from pipeline.store.tables import metadata
from tests.contract.store_subjects import HandClock
from tests.simulation import books
from tests.unit import console_house
from tests.unit.console_house import CHEAP, Browser

T = TypeVar("T")
OLD, NEW, LOGIN = "invented-old", "invented-new", "shared@example.com"
PAGE = f"/settings/payment/{AGENT}/password"


class HouseOnFile(House):
    """Its database is a file: the console's threads see it, too, which a database in memory belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / 'daifu.sqlite3'}"
        super().__init__()

    def _open_store(self) -> Store:
        store = open_store(self._url, self.clock, patience_s=self.settings.relay_patience_s)
        metadata.create_all(store.engine)
        self._unwatch = watch_commits(store, self._note_commit)
        return store


def carols_browser(house: House) -> Browser:
    """The console of this house, with one of the agent's people signed in."""
    desk = Desk(
        house.store.impatient(), Settings(), house.service_keys, house.vault.public, lambda: console_house.EMPTY
    )
    desk.sign_in.passwords = Passwords(CHEAP)
    house.write(lambda tx: add_user(tx, "carol", Role.AGENT, AGENT, CHEAP.hash("x"), "human:setup"))
    return console_house.House(desk, create_app(desk), HandClock()).signed_in("carol")


def meanwhile(work: Callable[[], T]) -> T:
    """Do it on a thread with loops of its own, while virtual time stands still."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def change(browser: Browser, old: str, new: str) -> None:
    assert browser.post(PAGE, {"old": old, "new": new}).goes_to == "/settings/payment"
    assert "下一次支付起使用新密码" in browser.get("/settings/payment").text


async def buy(house: House, n: int) -> str:
    """An order on an account that 12306 knows with the new password; the request brings none."""
    order_no, hold = f"{SAMPLE}-{n}", f"E{n}00000000"
    house.world.add_hold(hold_body(hold, LOGIN, NEW, "ok", force=True))
    await house.send(house.event(order_paid(order_no)), house.need_pay(order_no, hold, LOGIN, None))
    await house.until(lambda: books.is_done(house, order_no))
    return order_no


def test_the_next_payment_uses_the_password_that_was_set_on_the_page(tmp_path: Path) -> None:
    async def scenario() -> None:
        house = HouseOnFile(tmp_path)
        house.start()
        house.add_agent()
        try:
            browser = meanwhile(lambda: carols_browser(house))
            meanwhile(lambda: change(browser, "", OLD))
            refused = await buy(house, 0)
            assert books.purchase(house, refused).reason == "wrong_password"
            meanwhile(lambda: change(browser, OLD, NEW))
            paid = await buy(house, 1)
            assert books.purchase(house, paid).state == "settled"
            assert [line["outcome"] for line in books.journal(house, "login", account=LOGIN)] == [
                "wrong_password",
                "ok",
            ]
            books.check_books(house)
        finally:
            await house.stop()
            house.store.close()

    run_virtual(scenario)
