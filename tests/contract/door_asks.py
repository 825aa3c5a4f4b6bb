"""What agents ask for at the door, as both databases get it in these tests."""

from __future__ import annotations

from pipeline.acceptance import Limits
from pipeline.agent_asks import AgentAsk
from pipeline.requests import RequestKind
from tests.contract.store_subjects import AGENT, LOGIN

LIMITS = Limits(submit_within_s=1200.0, order_wait_s=300.0)
TICKET = {"ticket_no": "E646076788", "seat_type": "7", "seat_no": "11车04号下铺", "price_fen": 41_300}
NO_TICKET_DETAIL = {"reason": "1", "words": "", "comment": "", "passenger_reason": []}


def need_pay(order_no: str, hold: str | None = None, digest: str = "d") -> AgentAsk:
    return AgentAsk(AGENT, order_no, RequestKind.NEED_PAY, LOGIN, None, hold, None, digest)


def confirm(order_no: str) -> AgentAsk:
    return AgentAsk(AGENT, order_no, RequestKind.CONFIRM, detail={"tickets": [TICKET], "account": LOGIN})


def no_ticket(order_no: str) -> AgentAsk:
    return AgentAsk(AGENT, order_no, RequestKind.NO_TICKET, detail=NO_TICKET_DETAIL)
