"""Steps of signing in to the console, as people take them."""

from __future__ import annotations

from tests.unit.console_house import PASSWORD, Browser, House

WRONG = "not the pass phrase"


def type_password(browser: Browser, name: str, password: str = PASSWORD, **more: str) -> int:
    browser.get("/login")
    return browser.post("/login", {"name": name, "password": password, **more}).status


def enrolled(house: House, name: str) -> None:
    """The person has used its authenticator before."""
    house.signed_in(name)


def is_in(browser: Browser) -> bool:
    return browser.get("/account").status == 200


def sent_to(browser: Browser, path: str) -> str:
    return browser.get(path).goes_to
