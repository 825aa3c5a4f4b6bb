"""Sessions of the console: how they begin, end and are kept; changed passwords; one-time links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline import operations_users as operations
from pipeline.operations_sign_in import IDLE_S, LASTS_S, UNFINISHED_S
from pipeline.operations_users import FIRST_LINK_S, Role
from tests.unit.console_house import HOST, PASSWORD, House, console_at
from tests.unit.console_steps import WRONG, acts, enrolled, is_in, type_password


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


def test_a_cookie_that_somebody_planted_never_becomes_a_session(house: House) -> None:
    browser = house.browser()
    browser.cookies["daifu_session"] = planted = "planted by somebody else"
    type_password(browser, "carol")
    assert browser.cookies["daifu_session"] != planted
    other = house.browser()
    other.cookies["daifu_session"] = planted
    assert not is_in(other)


def test_a_session_is_another_one_after_the_second_step(house: House) -> None:
    enrolled(house, "bob")
    browser = house.browser()
    type_password(browser, "bob")
    before, csrf = browser.cookies["daifu_session"], browser.csrf
    browser.get("/login")
    browser.post("/login/code", {"code": house.code("bob")})
    assert browser.cookies["daifu_session"] != before
    browser.get("/account")
    assert browser.csrf != csrf
    browser.cookies["daifu_session"] = before
    assert not is_in(browser)


def test_no_cookie_and_no_password_is_stored_as_it_is(house: House) -> None:
    browser = house.signed_in("carol")
    dump = house.read(lambda tx: str([tx.rows(text(f"SELECT * FROM {name}")) for name in ("sessions", "users")]))  # noqa: S608 - the names stand here
    assert browser.cookies["daifu_session"] not in dump
    assert PASSWORD not in dump
    assert dump.count("$argon2id$") == 4


def test_an_idle_session_ends_and_a_page_that_updates_itself_is_no_use_of_it(house: House) -> None:
    browser = house.signed_in("carol")
    house.clock.move(IDLE_S - 60)
    assert is_in(browser)
    for _ in range(3):
        house.clock.move(IDLE_S / 3 + 1)
        last = browser.get("/account", x_background="1").status
    assert last == 303


def test_a_session_in_use_ends_at_last(house: House) -> None:
    browser = house.signed_in("carol")
    used = 0.0
    while used < LASTS_S - IDLE_S:
        house.clock.move(IDLE_S - 60)
        used += IDLE_S - 60
        assert is_in(browser)
    house.clock.move(IDLE_S - 60)
    assert not is_in(browser)


def test_a_session_without_its_code_ends_soon(house: House) -> None:
    enrolled(house, "bob")
    browser = house.browser()
    type_password(browser, "bob")
    house.clock.move(UNFINISHED_S + 1)
    browser.get("/login")
    assert browser.post("/login/code", {"code": house.code("bob")}).status in (303, 403)
    assert not is_in(browser)


def test_signing_out_ends_the_session_on_the_server(house: House) -> None:
    browser = house.signed_in("carol")
    kept = dict(browser.cookies)
    assert browser.post("/logout").goes_to == "/login"
    browser.cookies = kept
    assert not is_in(browser)


def test_whoever_is_disabled_is_out_at_once_and_stays_out(house: House) -> None:
    browser = house.signed_in("carol")
    house.write(lambda tx: operations.disable_user(tx, "carol", "离职", "human:alice"))
    assert not is_in(browser)
    assert type_password(house.browser(), "carol") == 401


def test_a_changed_password_ends_all_other_sessions(house: House) -> None:
    here, there = house.signed_in("carol"), house.signed_in("carol")
    new = "another invented phrase"
    form = {"old": PASSWORD, "new": new, "repeated": new}
    assert here.post("/account/password", form).goes_to == "/account"
    assert "其他 1 处登录已退出" in here.get("/account").text
    assert "其他 1 处" not in here.get("/account").text, "once"
    assert is_in(here)
    assert not is_in(there)
    assert type_password(house.browser(), "carol") == 401
    assert type_password(house.browser(), "carol", new) == 303


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"old": WRONG, "new": "another invented phrase", "repeated": "another invented phrase"}, "原密码不对"),
        ({"old": PASSWORD, "new": "another invented phrase", "repeated": "another"}, "不一样"),
        ({"old": PASSWORD, "new": "short", "repeated": "short"}, "10 至 128"),
        ({"old": PASSWORD, "new": "aaaaaaaaaaaa", "repeated": "aaaaaaaaaaaa"}, "太容易猜到"),
        ({"old": PASSWORD, "new": "carolcarol12306", "repeated": "carolcarol12306"}, "太容易猜到"),
    ],
)
def test_a_password_is_not_changed_when(house: House, form: dict[str, str], said: str) -> None:
    browser = house.signed_in("carol")
    answer = browser.post("/account/password", form, referer=f"http://{HOST}/account")
    assert answer.goes_to == "/account"
    assert said in browser.get("/account").text
    assert len(acts(house, "session.prove")) == (said == "原密码不对"), "a wrong password is in the audit log"
    assert type_password(house.browser(), "carol") == 303


def test_cookies_are_strict_and_over_https_secure(house: House) -> None:
    plain = house.browser()
    plain.get("/login")
    answer = plain.post("/login", {"name": "carol", "password": PASSWORD})
    (cookie,) = [value for name, value in answer.headers if name == "set-cookie" and value.startswith("daifu_session")]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    secure = house.browser(scheme="https")
    secure.get("/login")
    answer = secure.post("/login", {"name": "carol", "password": PASSWORD}, origin=f"https://{HOST}")
    (cookie,) = [value for name, value in answer.headers if name == "set-cookie" and "daifu_session" in value]
    assert cookie.startswith("__Host-daifu_session=")
    assert "Secure" in cookie
    assert answer.header("strict-transport-security")


def test_a_link_from_elsewhere_works_in_spite_of_the_strict_cookie(house: House) -> None:
    """The browser sent no cookie with it; our own page makes it ask again, as it should."""
    page = house.browser().get("/login?next=/orders", sec_fetch_site="cross-site").text
    assert '<meta http-equiv="refresh" content="0; url=/orders">' in page


def test_the_first_link_makes_the_first_supervisor_once(house: House, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    with console_at(f"sqlite:///{tmp_path / 'empty.sqlite3'}", empty, people=False) as bare:
        token = bare.write(operations.first_link)
        browser = bare.browser()
        assert "第一位主管" in browser.get(f"/start/{token.reveal()}").text
        form = {"name": "zoe", "password": PASSWORD, "repeated": PASSWORD}
        assert browser.post(f"/start/{token.reveal()}", form).goes_to == "/login"
        assert "绑定动态口令" in browser.get("/login").text
        assert bare.browser().get(f"/start/{token.reveal()}").status == 404
        assert bare.write(operations.first_link) is None
    assert house.write(operations.first_link) is None


def test_the_first_link_is_over_after_half_an_hour(tmp_path: Path) -> None:
    with console_at(f"sqlite:///{tmp_path / 'empty.sqlite3'}", tmp_path, people=False) as bare:
        token = bare.write(operations.first_link)
        bare.clock.move(FIRST_LINK_S + 1)
        assert bare.browser().get(f"/start/{token.reveal()}").status == 404


def test_a_new_user_sets_a_password_by_the_link_and_the_link_works_once(house: House) -> None:
    new = house.write(lambda tx: operations.add_user(tx, "eve", Role.AGENT, "xcslw", None, "human:alice"))
    assert type_password(house.browser(), "eve", WRONG) == 401
    browser, path = house.browser(), f"/start/{new.link.reveal()}"
    browser.get(path)
    assert browser.post(path, {"password": "short", "repeated": "short"}).status == 409
    assert browser.post(path, {"password": PASSWORD, "repeated": PASSWORD}).goes_to == "/"
    assert is_in(browser)
    assert house.browser().get(path).status == 404
