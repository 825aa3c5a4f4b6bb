"""A console on a real address with data in it, and the pages of a browser that looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request

from pipeline.reasons import Reason
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, OTHER_AGENT, House, console_at
from tests.unit.console_served import on_a_thread

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}


@dataclass
class Site:
    """`url` of the console; `house` is what is behind it. `orders`: numbers of AGENT's, one in each state and more."""

    url: str
    house: House
    orders: list[str]

    def sign_in(self, page: Page, name: str) -> None:
        """Signed in without the forms; a page that is open is not yet."""
        page.context.add_cookies([{"name": "daifu_session", "value": self.house.session(name), "url": self.url}])


@contextmanager
def site_at(folder: Path, **settings: Any) -> Iterator[Site]:
    """A console with orders of two agents, on SQLite."""
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder, **settings) as house:
        mine = Orders(house.store, AGENT, house.desk.vault_key)
        mine.set_up()
        mine.one_of_each()
        for reason in (Reason.WRONG_PASSWORD, Reason.HOLD_EXPIRED, Reason.PRICE_MISMATCH):
            mine.held_unpaid(reason, "占座 1241.00 元, 请求 1240.00 元" if reason is Reason.PRICE_MISMATCH else "")
        others = Orders(house.store, OTHER_AGENT, house.desk.vault_key, words="李四")
        others.set_up()
        others.one_of_each()
        with on_a_thread(house.app) as url:
            yield Site(url, house, mine.made)


def follow(link: Locator) -> None:
    """Clicks a link or button and returns when the page it leads to is whole.

    A click alone returns at the first bytes of that page: `expect` waits for what it looks for, a count does not.
    """
    with link.page.expect_navigation():
        link.click()


@dataclass
class Watched:
    """A page, and what went wrong on it that nobody may see: script errors, refused styles, requests to other hosts."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def watch(self, url: str) -> None:
        def say(message: ConsoleMessage) -> None:
            # Chromium itself notes every answer of 4xx; pages that say no are looked at by their tests.
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
                self.wrong.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            if not request.url.startswith((url, "data:", "about:")):
                self.wrong.append(f"request to {request.url}")

        self.page.on("console", say)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("request", asked)


@contextmanager
def watched_page(browser: Browser, site: Site, options: dict[str, Any]) -> Iterator[Page]:
    """A page in a context of its own. Raises AssertionError at the end for anything that went wrong on it."""
    context: BrowserContext = browser.new_context(
        base_url=site.url, locale="zh-CN", timezone_id="Asia/Shanghai", **options
    )
    context.set_default_timeout(10_000)
    try:
        watched = Watched(context.new_page())
        watched.watch(site.url)
        yield watched.page
        assert not watched.wrong, watched.wrong
    finally:
        context.close()
