"""The names of work: its steps, the stage that does each, and the keys of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


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
