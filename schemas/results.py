"""What daifu tells AM, on exchange `daifu.events`: CloudEvents whose id is `order_no:generation:type` (INTERFACES section 3)."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field
from pydantic_core import to_json

from schemas.envelope import CloudEvent, OrderData
from schemas.fields import AgentCode, Fen, HoldNo, Time
from schemas.orders import Ticket

SOURCE = "daifu"

ResultType = Literal[
    "purchase.accepted",
    "purchase.refused",
    "purchase.purchased",
    "purchase.held_unpaid",
    "purchase.paid_abnormal",
    "purchase.settled",
    "purchase.refunded",
]
PurchaseState = Literal[
    "accepted",
    "ready",
    "paying",
    "in_doubt",
    "purchased",
    "settled",
    "held_unpaid",
    "paid_abnormal",
    "refunded",
    "never_debited",
]
PurchaseOutcome = Literal["purchased", "held_unpaid", "paid_abnormal"]

RESULT_TYPES: tuple[ResultType, ...] = get_args(ResultType)


class Result(OrderData):
    """How a purchase stands. Amounts are fen, None where nothing is known yet; `seq` counts up per order, from 1.

    `err_code` is set on a refusal only (INTERFACES section 4), `reason` on held_unpaid and paid_abnormal.
    A refused request may belong to no purchase: `state` is then None and `generation` 0.
    """

    agent: AgentCode
    generation: int = Field(ge=0)
    held_order_no: HoldNo | None = None
    state: PurchaseState | None = None
    outcome: PurchaseOutcome | None = None
    reason: str | None = Field(default=None, max_length=64)
    err_code: str | None = Field(default=None, max_length=8)
    paid_fen: Fen | None = None
    unfrozen_fen: Fen | None = None
    partial_refund_fen: Fen | None = None
    tickets: tuple[Ticket, ...] = ()
    seq: int = Field(ge=1)
    at: Time


class ResultEvent(CloudEvent[Result]):
    type: ResultType


def result_bytes(kind: ResultType, result: Result) -> bytes:
    """The message body of a ResultEvent that tells `result`, UTF-8 JSON; every field is there, unknown ones as null.

    Three of these are written per order: the envelope around a result that has been validated is made of constants and of what
    is in it, and not validated once more.
    """
    return to_json(
        {
            "specversion": "1.0",
            "id": f"{result.order_no}:{result.generation}:{kind}",
            "source": SOURCE,
            "type": kind,
            "time": result.at,
            "datacontenttype": "application/json",
            "data": result,
            "subject": result.order_no,
        }
    )
