"""What daifu tells AM, on exchange `daifu.events`: CloudEvents whose id is `order_no:generation:type` (INTERFACES section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, get_args

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


class Told(TypedDict):
    """The fields of a Result, in their order, out of rows: what was validated when it came in, or was decided here."""

    order_no: str
    agent: str
    generation: int
    held_order_no: str | None
    state: str | None
    outcome: str | None
    reason: str | None
    err_code: str | None
    paid_fen: int | None
    unfrozen_fen: int | None
    partial_refund_fen: int | None
    tickets: Sequence[Mapping[str, Any]]
    seq: int
    at: datetime


def result_bytes(kind: ResultType, told: Told) -> bytes:
    """The message body of a ResultEvent, UTF-8 JSON; every field is there, unknown ones as null.

    Three of these are written per order, by transactions that must not fail over what is told of them: nothing is validated
    again. Whoever reads one validates it.
    """
    return to_json(
        {
            "specversion": "1.0",
            "id": f"{told['order_no']}:{told['generation']}:{kind}",
            "source": SOURCE,
            "type": kind,
            "time": told["at"],
            "datacontenttype": "application/json",
            "data": told,
            "subject": told["order_no"],
        }
    )
