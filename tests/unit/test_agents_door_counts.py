"""What the agents' door counts: requests by what they ask and how they were answered, in names that nobody outside chooses."""

from __future__ import annotations

from pipeline.agent_asks import AgentReply
from pipeline.requests import ErrCode
from tests.contract.tts_vectors import MERCHANT, ORDER_NO
from tests.unit.agents_visit import GO_PAY, NEED_PAY, PURCHASE, QUERY, FakeDesk, Visit, at_the_door, signed

PAY = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "price": "631.0", "un": "agent_user01"}
NO_TICKET = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "opt": "NO_TICKET", "reason": "0"}
WAITING = {"merchantCode": MERCHANT, "type": "WAIT_TICKET"}


def counted(visit: Visit) -> dict[tuple[str, str], float]:
    """Requests by (type, err_code)."""
    found = {}
    for metric in visit.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "daifu_door_requests_total":
                found[sample.labels["type"], sample.labels["err_code"]] = sample.value
    return found


def test_requests_are_counted_by_what_they_ask_and_how_they_were_answered() -> None:
    async def visit(visit: Visit) -> None:
        for _ in range(3):
            assert await visit.code(PURCHASE, signed(NEED_PAY)) is None
        assert await visit.code(PURCHASE, signed(NEED_PAY) | {"HMAC": "0" * 32}) == "103"
        assert await visit.code(GO_PAY, signed(PAY)) is None
        assert await visit.code(QUERY, signed(WAITING)) is None
        assert counted(visit) == {
            ("need_pay", ""): 3,
            ("need_pay", "103"): 1,
            ("go_pay", ""): 1,
            ("wait_ticket", ""): 1,
        }
        text = visit.metrics.text().decode()
        assert 'daifu_door_requests_total{err_code="103",type="need_pay"} 1.0' in text
        assert 'daifu_door_seconds_count{type="need_pay"} 4.0' in text

    at_the_door(visit)


def test_a_refusal_by_the_desk_is_counted_under_its_code() -> None:
    async def visit(visit: Visit) -> None:
        assert await visit.code(PURCHASE, signed(NO_TICKET)) == "206"
        assert counted(visit) == {("no_ticket", "206"): 1}

    at_the_door(visit, desk=FakeDesk(reply=AgentReply(ErrCode.NOT_IN_THIS_STATE)))


def test_words_from_outside_make_no_new_names() -> None:
    async def visit(visit: Visit) -> None:
        for number in range(5):
            assert await visit.code(PURCHASE, signed({**NEED_PAY, "opt": f"MADE_UP_{number}"})) == "104"
            assert await visit.code(QUERY, signed({**WAITING, "type": f"MADE_UP_{number}"})) == "104"
            assert await visit.code(f"/api/pub/MadeUp{number}.do", signed(NEED_PAY)) == "104"
        assert await visit.code(PURCHASE, {}) == "101"
        assert counted(visit) == {("unknown", "104"): 15, ("unknown", "101"): 1}

    at_the_door(visit)
