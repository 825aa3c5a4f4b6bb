"""Steps that people take on the console: signing in, and looking at what came of a form."""

from __future__ import annotations

import re

from tests.unit.console_house import PASSWORD, Answer, Browser, House

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


def said(browser: Browser, answer: Answer) -> str:
    """The message on the page that a form leads to."""
    found = re.search(r'class="flash \w+"[^>]*>([^<]*)<', browser.get(answer.goes_to).text)
    assert found is not None
    return found[1]


def acts(house: House, action: str) -> list[tuple[str, str, str | None]]:
    """Who did it, what came of it and why, as the audit log has it, latest first."""
    rows = house.signed_in("bob").get(f"/api/v1/audit-log?action={action}").json["rows"]
    return [(row["actor"], row["result"], row["reason"]) for row in rows]
