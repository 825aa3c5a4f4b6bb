"""Requests of the same bytes: read once, asked each time, remembered without their bytes and only as long as the key stands."""

from __future__ import annotations

import pytest

from pipeline.agent_asks import AgentAsk
from pipeline.requests import RequestKind
from pipeline.secret import Secret
from producers import recent_requests
from tests.contract.tts_vectors import MERCHANT, ORDER_NO
from tests.unit.agents_visit import GO_PAY, NEED_PAY, PASSWORD, PURCHASE, Visit, at_the_door, signed

PAY = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "price": "631.0", "un": "agent_user01"}


def test_a_request_of_the_same_bytes_is_read_once_and_asked_each_time() -> None:
    async def visit(visit: Visit) -> None:
        for fields in (NEED_PAY, NEED_PAY, {**NEED_PAY, "pw": "another"}, {**NEED_PAY, "un": "agent_user02"}):
            assert await visit.code(PURCHASE, signed(fields)) is None
        first, again, *others = [str(ask.password_sealed) for ask in visit.desk.asked]
        assert first == again
        assert len({first, *others}) == 3
        assert [visit.vault.open(box).reveal() for box in (first, *others)] == [PASSWORD, "another", PASSWORD]

    at_the_door(visit)


def test_what_came_before_is_told_to_the_desk() -> None:
    async def visit(visit: Visit) -> None:
        for fields in (NEED_PAY, NEED_PAY, {**NEED_PAY, "comment": "又一次"}):
            assert await visit.code(PURCHASE, signed(fields)) is None
        for _ in range(2):
            assert await visit.code(GO_PAY, signed(PAY)) is None
        assert visit.desk.again == [False, True, False, False, True]

    at_the_door(visit)


def test_bytes_that_were_good_under_another_key_are_refused() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed(NEED_PAY)) is None
        assert await visit.code(PURCHASE, signed(NEED_PAY)) is None
        visit.desk.key = Secret("another key")
        assert await visit.code(PURCHASE, signed(NEED_PAY)) == "103"
        assert len(visit.desk.asked) == 2

    at_the_door(visit)


def test_requests_are_not_kept_without_end_and_long_ones_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_requests, "MAX_KEPT", 2)
    recent, key = recent_requests.RecentRequests(), Secret("key")
    asks = {name: AgentAsk(MERCHANT, name, RequestKind.CONFIRM) for name in "abc"}
    for name, ask in asks.items():
        recent.keep(recent.mark("purchase", name.encode()), ask, key)
    found = [recent.find(recent.mark("purchase", name.encode())) for name in "abc"]
    assert [known.ask.order_no if known else None for known in found] == [None, "b", "c"]
    assert recent.find(recent.mark("go_pay", b"c")) is None
    assert recent.mark("purchase", b"a" * (recent_requests.MAX_BYTES + 1)) is None


def test_what_is_kept_shows_no_password() -> None:
    known = recent_requests.Known(
        AgentAsk(MERCHANT, ORDER_NO, RequestKind.NEED_PAY, password_sealed="k.box"), Secret("key")
    )
    assert "box" not in repr(known)
    assert "key'" not in repr(known)
