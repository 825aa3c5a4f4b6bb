"""The /sandbox/... control routes: bodies, answers, errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sandbox_server import Caller, call
from tests.unit.sandbox_world import ACCOUNT, HOLD_NO, PASSWORD, hold_body

HOLDS = "/sandbox/holds"


def test_a_hold_is_created_shown_and_counted() -> None:
    async def story(caller: Caller) -> None:
        created = await caller.control("POST", HOLDS, hold_body())
        assert created == (201, {"held_order_no": HOLD_NO, "pay_deadline": "2026-11-22T04:30:00+00:00"})
        shown = await caller.control("GET", f"{HOLDS}/{HOLD_NO}")
        assert shown == (200, {"state": "unpaid", "pays": 0, "debits": 0})
        status, error = await caller.control("GET", f"{HOLDS}/E000000000")
        assert (status, error["field"]) == (404, "held_order_no")

    call(story)


def test_a_second_unpaid_order_of_an_account_needs_force() -> None:
    async def story(caller: Caller) -> None:
        await caller.control("POST", HOLDS, hold_body())
        status, error = await caller.control("POST", HOLDS, hold_body(held_order_no="E000000002"))
        assert (status, error["field"]) == (409, "account")
        status, _ = await caller.control("POST", HOLDS, hold_body(held_order_no="E000000002", force=True))
        assert status == 201
        status, error = await caller.control("POST", HOLDS, hold_body(force=True))
        assert (status, error["field"]) == (409, "held_order_no")

    call(story)


@pytest.mark.parametrize("first", ["already_paid", "hold_expired", "hold_not_found"])
def test_a_hold_that_is_not_unpaid_stands_in_nobodys_way(first: str) -> None:
    async def story(caller: Caller) -> None:
        await caller.control("POST", HOLDS, hold_body(first))
        status, _ = await caller.control("POST", HOLDS, hold_body(held_order_no="E000000002"))
        assert status == 201

    call(story)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"account": ""}, "account"),
        ({"password": None}, "password"),
        ({"held_order_no": "e-1"}, "held_order_no"),
        ({"held_order_no": "E" * 33}, "held_order_no"),
        ({"departure_at": "2026-11-30T10:00:00"}, "departure_at"),
        ({"from": ""}, "from"),
        ({"passengers": []}, "passengers"),
        ({"passengers": [{"name": "张三", "id_type": "1"}]}, "passengers.0.id_no"),
        ({"seats": [{"seat": "站着", "price_fen": 1}]}, "seats.0.seat"),
        ({"seats": [{"seat": "硬座", "price_fen": 1}] * 3}, "seats"),
        ({"price_fen": 0}, "price_fen"),
        ({"price_fen": "a lot"}, "price_fen"),
        ({"deadline_s": "soon"}, "deadline_s"),
        ({"behaviour": "okay"}, "behaviour"),
        ({"behavior": "ok"}, "behavior"),
        ({"delay_ms": -1}, "delay_ms"),
    ],
)
def test_a_hold_that_cannot_be_names_its_field(changes: dict[str, Any], field: str) -> None:
    async def story(caller: Caller) -> None:
        status, error = await caller.control("POST", HOLDS, hold_body(**changes))
        assert (status, error["field"]) == (422, field)
        assert set(error) == {"field", "error"}
        assert PASSWORD not in str(error)
        assert caller.world.hold(HOLD_NO) is None

    call(story)


def test_one_seat_may_stand_for_all_and_codes_for_names() -> None:
    async def story(caller: Caller) -> None:
        await caller.control("POST", HOLDS, hold_body(seats=[{"seat": "4", "price_fen": 62050}]))
        await caller.log_in()
        (order,) = caller.world.ticketing.unpaid(_sid(caller))
        assert [(ticket.seat, ticket.seat_no) for ticket in order.tickets] == [("二等座", "01A号"), ("二等座", "02C号")]

    call(story)


def _sid(caller: Caller) -> str:
    return next(cookie.value for cookie in caller.http.cookie_jar if cookie.key == "JSESSIONID")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", HOLDS, [1], "body"),
        ("PUT", "/sandbox/outage", {"railway": True, "mode": "flaky", "for_s": 1}, "mode"),
        ("PUT", "/sandbox/outage", {"railway": True, "for_s": -1}, "for_s"),
        ("PUT", "/sandbox/clock", {}, "skew_s"),
        ("PUT", "/sandbox/agents/demo", {"answer": "ok", "times": -1}, "times"),
        ("GET", "/sandbox/journal?after=x", None, "after"),
    ],
)
def test_the_other_controls_name_their_field_too(method: str, path: str, body: Any, field: str) -> None:
    async def story(caller: Caller) -> None:
        status, error = await caller.control(method, path, body)
        assert (status, error["field"]) == (422, field)

    call(story)


def test_a_body_that_is_not_json_is_said_so() -> None:
    async def story(caller: Caller) -> None:
        async with caller.http.post(caller.base + HOLDS, data=b"\xff{") as answer:
            assert (answer.status, await answer.json()) == (422, {"field": "body", "error": "is not JSON"})

    call(story)


def test_the_journal_is_given_out_after_a_number() -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body())
        await caller.log_in()
        await caller.ajax("/otn/queryOrder/queryMyOrderNoComplete")
        _, lines = await caller.control("GET", "/sandbox/journal?after=0")
        assert [(line["seq"], line["kind"], line["account"]) for line in lines] == [
            (1, "login", ACCOUNT),
            (2, "query", ACCOUNT),
        ]
        assert await caller.control("GET", "/sandbox/journal?after=1") == (200, lines[1:])
        assert await caller.control("GET", "/sandbox/journal?after=2") == (200, [])

    call(story)


def test_an_agents_address_takes_a_form_and_answers_as_told() -> None:
    async def story(caller: Caller) -> None:
        told = await caller.control("PUT", "/sandbox/agents/demo", {"answer": "false", "times": 1, "key": "invented"})
        assert told == (200, {"answer": "false", "times": 1})
        form = {"orderNo": "demo1", "payStatus": "1", "HMAC": "0"}
        path = "/sandbox/agents/demo/callback"
        async with caller.http.post(caller.base + path, data=form, headers={"webhook-id": "msg_1"}) as answer:
            assert (await answer.json())["ret"] is False
        async with caller.http.post(caller.base + path, data=form) as answer:
            assert await answer.json() == {"ret": True}
        _, lines = await caller.control("GET", "/sandbox/journal")
        assert [(line["webhook_id"], line["hmac_ok"]) for line in lines] == [("msg_1", False), (None, False)]

    call(story)
