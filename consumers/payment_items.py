"""What a payment worker has in hand, and what its calls come back with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pipeline.matching import SHANGHAI, ExpectedOrder, ExpectedPassenger
from pipeline.ports import SubmitAnswer
from pipeline.proof import Finding
from pipeline.reasons import Reason
from pipeline.store.work import WorkRow
from schemas.codes import seat_name
from schemas.orders import Sought


@dataclass(slots=True)
class PayItem:
    """A claimed purchase with an open attempt. Not withdrawable once its intent was handed over."""

    row: WorkRow
    purchase_id: str
    agent: str
    login: str
    password_sealed: str
    held_order_no: str | None
    known_deadline: datetime | None
    stop_at: datetime
    requested_at: datetime
    accepted_at: datetime
    attempt_id: str
    expected: ExpectedOrder
    withdrawable: bool = True
    tries_owed: tuple[int, int] | None = None  # login tries of its account: so many are counted, so many should be

    @property
    def key(self) -> str:
        return self.row.key


class Question(NamedTuple):
    """What is asked about a submitted payment."""

    login: str
    held_order_no: str
    trade_no: str
    amount_fen: int
    final_after: datetime
    requested_at: datetime


@dataclass(slots=True)
class AskItem:
    """A submitted attempt whose outcome is unknown: only questions."""

    row: WorkRow
    purchase_id: str
    attempt_id: str
    password_sealed: str
    question: Question
    withdrawable: bool = True

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def login(self) -> str:
        return self.question.login


@dataclass(frozen=True, slots=True)
class Ended:
    """Ended before the intent: held_unpaid. `asked`: 12306 was asked about this very hold, and does not list it as paid."""

    item: PayItem
    reason: Reason
    detail: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class FoundAbnormal:
    """The look found money of ours in play: paid_abnormal without an intent of this purchase."""

    item: PayItem
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing was submitted; try again in `delay_s` (None: with the usual growing delay)."""

    item: PayItem | AskItem
    error: str
    delay_s: float | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class IntentLost:
    """It is unknown whether the intent was stored, and certain that nothing was sent."""

    item: PayItem


class Submitted(NamedTuple):
    """The intent is recorded and ours. `finding` is what the first questions proved."""

    item: PayItem
    ask_row: WorkRow
    answer: SubmitAnswer
    finding: Finding | None


@dataclass(frozen=True, slots=True)
class Asked:
    item: AskItem
    finding: Finding
    detail: str = field(default="")


PaymentResult = Ended | FoundAbnormal | Again | IntentLost | Submitted | Asked


def expected_of(details: str, stated_fen: int | None) -> ExpectedOrder:
    """What the user paid for, from the JSON text of the stored order.paid."""
    order = Sought.model_validate_json(details)
    seats = frozenset(seat_name(seat.code) for seat in (order.seat, *order.fallback_seats))
    return ExpectedOrder(
        train_nos=tuple(part.strip() for part in order.train_no.split("/")),
        departs_on=order.departure_at.astimezone(SHANGHAI).date(),
        from_station=order.from_station,
        to_station=order.to_station,
        passengers=tuple(
            ExpectedPassenger(person.name, person.id_type, person.id_no, person.ticket_type)
            for person in order.passengers
        ),
        seats=seats,
        fare_fen=order.fare_fen,
        stated_fen=stated_fen,
    )
