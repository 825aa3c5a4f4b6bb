"""Signing in to the console: password, code, and what slows guessing down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.console.app import create_app
from pipeline.console.desk import Desk
from pipeline.store.acts import ActFilter, list_acts
from pipeline.tries import TRIES_ADDRESS, TRIES_BOTH, TRIES_NAME, WINDOW_S
from pipeline.vault import KeyRing
from tests.unit.console_house import PASSWORD, Browser, House, console_at
from tests.unit.console_steps import WRONG, enrolled, is_in, sent_to, type_password


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


def test_an_agent_signs_in_with_its_password_alone(house: House) -> None:
    browser = house.browser()
    assert type_password(browser, "Carol ") == 303
    assert is_in(browser)


def test_after_the_sign_in_the_page_that_was_asked_for_comes(house: House) -> None:
    browser = house.browser()
    assert sent_to(browser, "/orders?state=paid&cursor=") == "/login?next=/orders%3Fstate%3Dpaid%26cursor%3D"
    browser.get("/login?next=/orders%3Fstate%3Dpaid")
    answer = browser.post("/login", {"name": "carol", "password": PASSWORD, "next": "/orders?state=paid"})
    assert answer.goes_to == "/orders?state=paid"


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "x"]
)
def test_the_sign_in_leads_nowhere_else(house: House, path: str) -> None:
    browser = house.browser()
    browser.get("/login")
    assert browser.post("/login", {"name": "carol", "password": PASSWORD, "next": path}).goes_to == "/"


@pytest.mark.parametrize("name", ["carol", "nobody", "<b>"])
def test_a_wrong_name_and_a_wrong_password_are_told_the_same(house: House, name: str) -> None:
    browser = house.browser()
    browser.get("/login")
    answer = browser.post("/login", {"name": name, "password": WRONG})
    assert answer.status == 401
    assert "用户名或密码不对" in answer.text
    assert WRONG not in answer.text
    assert not is_in(browser)


def test_an_operator_enrols_a_device_first_and_gives_a_code_ever_after(house: House) -> None:
    browser = house.browser()
    type_password(browser, "bob")
    page = browser.get("/login").text
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
    assert secret is not None
    house.secrets["bob"] = secret[1].replace(" ", "")
    assert not is_in(browser)
    assert browser.post("/login/code", {"code": "000000"}).status == 401
    assert browser.post("/login/code", {"code": house.code("bob")}).goes_to == "/"
    assert is_in(browser)
    again = house.browser()
    type_password(again, "bob")
    assert "<code>" not in again.get("/login").text
    assert again.post("/login/code", {"code": house.code("bob")}).goes_to == "/"
    assert is_in(again)


def test_a_code_counts_once(house: House) -> None:
    enrolled(house, "bob")
    code = house.code("bob")
    first, second = house.browser(), house.browser()
    for browser, status in ((first, 303), (second, 401)):
        type_password(browser, "bob")
        browser.get("/login")
        assert browser.post("/login/code", {"code": code}).status == status


def test_a_code_alone_is_nothing(house: House) -> None:
    enrolled(house, "bob")
    browser = house.browser()
    browser.get("/login")
    assert browser.post("/login/code", {"code": house.code("bob")}).goes_to == "/login"


def test_codes_are_not_to_be_guessed(house: House) -> None:
    enrolled(house, "bob")
    browser = house.browser()
    type_password(browser, "bob")
    browser.get("/login")
    statuses = [browser.post("/login/code", {"code": f"{n:06d}"}).status for n in range(6)]
    assert statuses == [401] * 5 + [429]
    assert browser.post("/login/code", {"code": house.code("bob")}).status == 429


def test_guessing_one_password_is_slowed_down_and_others_come_in_from_elsewhere(house: House) -> None:
    browser = house.browser()
    assert [type_password(browser, "carol", WRONG) for _ in range(TRIES_BOTH + 1)] == [401] * TRIES_BOTH + [429]
    assert type_password(browser, "carol") == 429, "even the right one"
    assert type_password(house.browser(address="192.0.2.9"), "carol") == 303
    assert type_password(house.browser(), "dave") == 303
    house.clock.move(WINDOW_S + 1)
    assert type_password(browser, "carol") == 303


def test_what_was_tried_is_known_after_a_restart(house: House) -> None:
    browser = house.browser()
    for _ in range(TRIES_BOTH):
        type_password(browser, "carol", WRONG)
    before = house.desk
    restarted = Desk(house.store, before.settings, before.service_keys, before.vault_key, before.depths)
    restarted.sign_in.passwords = house.desk.sign_in.passwords
    assert type_password(Browser(create_app(restarted)), "carol") == 429


def test_guessing_from_one_address_is_slowed_down_whatever_the_names(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.desk.sign_in.passwords, "fits", lambda *_: False)
    browser = house.browser()
    statuses = [type_password(browser, f"name{n}", WRONG) for n in range(TRIES_ADDRESS + 1)]
    assert statuses[-2:] == [401, 429]


def test_what_was_tried_and_done_is_in_the_audit_log(house: House) -> None:
    browser = house.browser()
    type_password(browser, "carol", WRONG)
    type_password(browser, "a password typed as a name", WRONG)
    type_password(browser, "carol")
    browser.get("/account")
    browser.post("/logout")
    acts = house.read(lambda tx: list_acts(tx, ActFilter(action="session"))).rows
    assert [(act["actor"], act["action"], act["subject"], act["result"], act["origin"]) for act in acts] == [
        ("human:carol", "session.sign_out", "carol", "done", "192.0.2.1"),
        ("human:carol", "session.sign_in", "carol", "done", "192.0.2.1"),
        ("system:console", "session.sign_in", "?", "refused", "192.0.2.1"),
        ("system:console", "session.sign_in", "carol", "refused", "192.0.2.1"),
    ]
    assert "typed as a name" not in str(acts)


def test_a_lost_key_ring_is_said_as_that(house: House) -> None:
    enrolled(house, "bob")
    object.__setattr__(house.desk.sign_in, "_keys", KeyRing.generate())
    browser = house.browser()
    type_password(browser, "bob")
    browser.get("/login")
    answer = browser.post("/login/code", {"code": "000000"})
    assert answer.status == 503
    assert "另一位主管重置" in answer.text


def test_nobody_is_locked_out_from_elsewhere_where_they_came_in_before(house: House) -> None:
    """Guesses of one name from many addresses end its tries everywhere but where that person is known to be."""
    desk = house.browser(address="192.0.2.50")
    assert type_password(desk, "carol") == 303
    for number in range(TRIES_NAME + 1):
        last = type_password(house.browser(address=f"198.51.100.{number}"), "carol", WRONG)
    assert last == 429
    assert type_password(house.browser(address="203.0.113.1"), "carol") == 429
    assert type_password(house.browser(address=desk.address), "carol") == 303
    assert [type_password(house.browser(address=desk.address), "carol", WRONG) for _ in range(6)] == [401] * 5 + [429]
