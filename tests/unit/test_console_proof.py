"""What can hardly be undone asks once more who it is; where a person is signed in, and how that ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import pytest
from fastapi.routing import APIRoute

from pipeline.console import app as console
from pipeline.console.visit import SAFE, may_of
from pipeline.operations_sign_in import FRESH_S, IDLE_S, LASTS_S
from pipeline.operations_users import Role
from pipeline.store.acts import ActFilter, list_acts
from pipeline.store.engine import Transaction
from pipeline.tries import WINDOW_S
from tests.unit.console_house import AGENT, HOST, PASSWORD, Browser, House, console_at
from tests.unit.console_steps import WRONG, acts, is_in, said

PROVEN = [(route, method) for route in console.routes() for method in route.methods or () if may_of(route).proven]
NEW = {"name": "erin", "role": "operator"}
BACK = {"referer": f"http://{HOST}/users"}


@pytest.fixture(scope="module")
def one_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("console")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        yield house


@pytest.fixture
def house(one_house: House) -> House:
    """The same for all, each time when sessions and wrong tries of before are over."""
    one_house.clock.move(IDLE_S + 1)
    return one_house


def later(house: House, name: str) -> Browser:
    """Signed in, and some work done since."""
    browser = house.signed_in(name)
    house.clock.move(FRESH_S + 1)
    return browser


def prove(house: House, browser: Browser, proof: str, to: str = "/users") -> int:
    browser.get(f"/confirm?next={to}")
    return browser.post("/confirm", {"proof": proof, "next": to}).status


def test_money_people_and_keys_ask_who_it_is(house: House) -> None:
    """Each of these routes, before anything else of the request is looked at; and no route that only reads does."""
    assert {re.sub(r"^/api/v1|/\{.*", "", route.path) for route, _ in PROVEN} >= {
        "/funds", "/abnormal", "/users", "/sub-accounts", "/settings/payment", "/dead-letters/replays",
    }  # fmt: skip
    browsers = {role: house.signed_in(name) for role, name in ((Role.SUPERVISOR, "alice"), (Role.AGENT, "carol"))}
    house.clock.move(FRESH_S + 1)
    began = house.clock.now()
    for route, method in PROVEN:
        assert method not in SAFE
        browser = browsers[Role.SUPERVISOR if Role.SUPERVISOR in may_of(route).roles else Role.AGENT]
        path = re.sub(r"\{\w+(?::\w+)?\}", "1", route.path)
        assert_asked(browser, route, path)
    assert house.read(lambda tx: acts_since(tx, began)) == []


def acts_since(tx: Transaction, since: datetime) -> list[str]:
    """What people did since then, but for signing in."""
    rows = list_acts(tx, ActFilter(since=since), None).rows
    return [row["action"] for row in rows if not row["action"].startswith("session.")]


def assert_asked(browser: Browser, route: APIRoute, path: str) -> None:
    if route.path.startswith("/api/"):
        answer = browser.send_json("POST", path, {}, **{"x-csrf-token": browser.csrf})
        assert (answer.status, answer.json["error"]) == (403, "prove_first"), route.path
    else:
        assert browser.post(path, {}, **BACK).goes_to == "/confirm?next=/users", route.path


def test_after_a_code_it_is_done_with_another_cookie(house: House) -> None:
    browser = later(house, "alice")
    old = dict(browser.cookies)
    assert browser.post("/users", NEW, **BACK).goes_to == "/confirm?next=/users"
    assert "还没有执行" in browser.get("/confirm?next=/users").text
    assert prove(house, browser, house.code("alice")) == 303
    assert browser.cookies["daifu_session"] != old["daifu_session"]
    browser.get("/users")
    assert "一次性链接" in browser.post("/users", NEW).text
    stolen = house.browser()
    stolen.cookies = old
    assert not is_in(stolen)


def test_a_page_says_before_its_form_is_filled_in_that_a_proof_is_needed(house: House) -> None:
    browser = house.signed_in("alice")
    pages = ("/users", f"/funds/{AGENT}", f"/settings/payment?agent={AGENT}")
    assert not any("/confirm" in browser.get(page).text for page in pages)
    house.clock.move(FRESH_S + 1)
    for page in pages:
        assert f'href="/confirm?next={page.partition("?")[0]}"' in browser.get(page).text
    assert "/confirm" not in house.signed_in("carol").get(f"/funds/{AGENT}").text


def test_an_agent_proves_itself_by_its_password(house: House) -> None:
    browser = later(house, "carol")
    sub = {"name": "carols-clerk"}
    assert browser.post("/sub-accounts", sub, **BACK).goes_to == "/confirm?next=/users"
    assert prove(house, browser, WRONG) == 401
    assert prove(house, browser, PASSWORD) == 303
    browser.get("/users")
    assert "carols-clerk" in browser.post("/sub-accounts", sub).text


def test_what_is_no_code_proves_nothing(house: House) -> None:
    browser = later(house, "alice")
    for proof in ("000000", PASSWORD, "", "x" * 50):
        assert prove(house, browser, proof) in (401, 422)
    assert browser.post("/users", NEW, **BACK).goes_to == "/confirm?next=/users"


def test_a_code_proves_once_and_is_not_to_be_guessed(house: House) -> None:
    browser = later(house, "bob")
    code = house.code("bob")
    assert prove(house, browser, code) == 303
    browser.get("/account")
    assert [prove(house, browser, code) for _ in range(7)] == [401] * 5 + [429] * 2
    house.clock.move(WINDOW_S + 1)
    assert [result for _, result, _ in acts(house, "session.prove")][:6] == ["refused"] * 5 + ["done"]


def test_a_proof_does_not_make_a_session_last(house: House) -> None:
    browser = house.signed_in("carol")
    for _ in range(int(LASTS_S // 3000)):
        house.clock.move(3000)
        prove(house, browser, PASSWORD)
        browser.get("/account")
    house.clock.move(1300)
    assert not is_in(browser)


def test_the_proof_leads_nowhere_else(house: House) -> None:
    browser = later(house, "carol")
    browser.get("/confirm?next=https://evil.example")
    assert browser.post("/confirm", {"proof": PASSWORD, "next": "https://evil.example"}).goes_to == "/"


def test_a_person_sees_where_it_is_signed_in_and_leaves_elsewhere(house: House) -> None:
    here, there = house.signed_in("carol"), house.browser(address="198.51.100.7")
    there.cookies["daifu_session"] = house.session("carol", there.address)
    house.signed_in("dave", address="203.0.113.9")
    page = here.get("/account").text
    assert "198.51.100.7" in page
    assert "203.0.113.9" not in page
    assert page.count("本机</small>") == 1
    house.clock.move(FRESH_S + 1)
    assert here.post("/account/sessions", {}, referer=f"http://{HOST}/account").goes_to == "/confirm?next=/account"
    prove(house, here, PASSWORD, "/account")
    here.get("/account")
    assert said(here, here.post("/account/sessions")) == "其他地方的登录已退出"
    assert is_in(here)
    assert not is_in(there)


def test_a_supervisor_ends_the_sessions_of_a_user(house: House) -> None:
    carol, alice = house.signed_in("carol"), house.signed_in("alice")
    answer = alice.post("/users/carol", {"act": "sign-out", "reason": "电脑丢失"})
    assert "在各处的登录已退出" in said(alice, answer)
    assert not is_in(carol)
    assert acts(house, "users.sign_out")[0] == ("human:alice", "done", "电脑丢失")
    refused = alice.post("/users/alice", {"act": "sign-out", "reason": "x"}, referer=f"http://{HOST}/users")
    assert "当前账号" in said(alice, refused)
