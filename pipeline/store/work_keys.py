"""The names of work: its steps, the stage that does each, and the keys of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists, select

from pipeline.store.tables import work


class Step(StrEnum):
    CREDENTIALS = "credentials"
    PAY = "pay"
    ASK = "ask"  # questions about a submitted payment
    SETTLE = "settle"
    DEPARTURE = "departure"  # unfreeze of an order ticketed offline, generation 0
    TELL = "tell"  # the agent's callback, one row per order, generation 0
    ORDER_WAIT = "order_wait"  # a need_pay that overtook its order.paid, generation 0


STAGE_OF: dict[Step, str] = {
    Step.CREDENTIALS: "credentials",
    Step.PAY: "payment",
    Step.ASK: "payment",
    Step.SETTLE: "settlement",
    Step.DEPARTURE: "settlement",
    Step.TELL: "notification",
    Step.ORDER_WAIT: "intake",
}
OF_ORDER = (Step.DEPARTURE, Step.TELL, Step.ORDER_WAIT)  # of generation 0; the others are of a purchase
OF_PURCHASE = tuple(step for step in Step if step not in OF_ORDER)
_STEPS = frozenset(step.value for step in Step)
STAGES = ("intake", "credentials", "payment", "settlement", "notification")


# After a restore nothing is paid until every hold since was asked about (`daifu recover`): a name in `meta`.
PAYING_PAUSED = "paying_paused_since"


class WorkRow(NamedTuple):
    key: str
    order_no: str
    generation: int
    step: Step
    fence: int
    version: int
    tries: int
    deaths: int
    due_at: datetime
    urgency: datetime
    created_at: datetime
    first_failed_at: datetime | None

    @property
    def purchase_id(self) -> str:
        return f"{self.order_no}:{self.generation}"


def work_key(order_no: str, generation: int, step: Step) -> str:
    return f"{order_no}:{generation}:{step}"


def has_row(order_no: ColumnElement[str], *steps: Step) -> ColumnElement[bool]:
    """Whether one of these steps of the order itself is due, or will be. By its keys, which say all that a row is of."""
    return _is_there(order_no, [f":0:{step}" for step in steps])


def purchase_has_row(purchase_id: ColumnElement[str], *steps: Step) -> ColumnElement[bool]:
    """The same for steps of a purchase."""
    return _is_there(purchase_id, [f":{step}" for step in steps])


def _is_there(begins: ColumnElement[str], ends: Sequence[str]) -> ColumnElement[bool]:
    return exists(select(work.c.key).where(work.c.key.in_([begins + end for end in ends])))


def split_key(key: str) -> tuple[str, int, Step] | None:
    """The parts of a work key, or None if it is none."""
    parts = key.rsplit(":", 2)
    if len(parts) != 3 or not parts[1].isdigit() or parts[2] not in _STEPS:
        return None
    return parts[0], int(parts[1]), Step(parts[2])


class NewRow(NamedTuple):
    """Work that became true; due now unless `due_at` says later. `urgency` None: as urgent as it is due."""

    order_no: str
    generation: int
    step: Step
    urgency: datetime | None = None
    due_at: datetime | None = None

    @property
    def key(self) -> str:
        return work_key(self.order_no, self.generation, self.step)


@dataclass(frozen=True, slots=True)
class Later:
    """A claimed row to be given back, due later. `counts`: this was a failed try. `waits_for`: a 12306 account."""

    row: WorkRow
    due_at: datetime
    error: str | None
    counts: bool = True
    waits_for: str | None = None
