"""What people and programs are told when something goes wrong: in plain Chinese, as JSON, and never with what is inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from pipeline.console.app import MAX_BODY_BYTES
from pipeline.store.engine import StoreUnavailable
from tests.unit.console_house import HOST, Browser, House, console_at
from tests.unit.console_steps import WRONG


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("failures")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        yield house


@pytest.fixture
def bob(house: House) -> Browser:
    return house.signed_in("bob")


def broken(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The page of orders meets this error."""

    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr("pipeline.console.orders.page_of_orders", fail)


def test_a_defect_is_a_500_with_our_headers_and_without_its_words(
    bob: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, ValueError("an inner secret"))
    with capture_logs() as logged:
        page, api = bob.get("/orders"), bob.get("/api/v1/orders")
    assert (page.status, api.status, api.json["error"]) == (500, 500, "failed")
    assert "错误已记录" in page.text
    assert "secret" not in page.text + api.text
    assert page.header("content-security-policy")
    assert page.header("server") == "daifu"
    assert [line["path"] for line in logged] == ["/orders", "/api/v1/orders"]


def test_a_database_that_is_away_is_a_503_also_where_it_should_say_who_is_asking(
    bob: Browser, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> NoReturn:
        raise StoreUnavailable("postgresql://inner")

    monkeypatch.setattr(type(house.store), "read", away)
    with capture_logs():
        page, api = bob.get("/orders"), bob.get("/api/v1/orders")
    assert (page.status, api.status, api.json["error"]) == (503, 503, "unavailable")
    assert "什么都没有改变" in page.text
    assert "inner" not in page.text + api.text


def test_what_is_too_large_is_not_read(house: House) -> None:
    browser = house.browser()
    browser.get("/login")
    assert browser.post("/login", {"name": "x" * MAX_BODY_BYTES, "password": WRONG}).status == 413


def test_a_wrong_method_is_a_405_and_an_address_with_a_nul_a_400(bob: Browser) -> None:
    assert bob.post("/orders").status == 405
    assert bob.send_json("DELETE", "/api/v1/orders").json["error"] == "not_allowed"
    assert bob.get("/orders?state=%00").status == 400


def test_a_wrong_field_is_named_and_what_was_typed_is_not_said_again(house: House) -> None:
    alice = house.signed_in("alice")
    answer = alice.post("/users", {"name": "x" * 201, "role": "king"})
    assert answer.status == 422
    assert "用户名" in answer.text
    assert "角色" in answer.text
    assert "king" not in answer.text
    assert "x" * 201 not in answer.text
    api = alice.get("/api/v1/audit-log?since=yesterday")
    assert (api.status, api.json["error"], api.json["fields"][0]["field"]) == (422, "invalid", "since")
    assert "yesterday" not in api.text


def test_a_refusal_goes_back_to_our_own_page_only(house: House) -> None:
    alice = house.signed_in("alice")
    form = {"name": "bob", "role": "operator"}
    assert alice.post("/users", form, referer=f"http://{HOST}/users").goes_to == "/users"
    for elsewhere in ("https://evil.example/users", f"http://{HOST}//evil.example", ""):
        answer = alice.post("/users", form, referer=elsewhere)
        assert (answer.status, "已存在" in answer.text) == (409, True)


def test_a_message_of_another_session_is_not_shown(house: House) -> None:
    alice, bob = house.signed_in("alice"), house.signed_in("bob")
    alice.post("/users", {"name": "bob", "role": "operator"}, referer=f"http://{HOST}/users")
    bob.cookies["daifu_flash"] = alice.cookies["daifu_flash"]
    assert "已存在" not in bob.get("/orders").text
    bob.cookies["daifu_flash"] = "é.é"
    assert bob.get("/orders").status == 200
    assert "已存在" in alice.get("/users").text
