"""A closing of a 支付完成,出票异常 that one person proposed and another is to confirm: it stands on the order's task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.operations_errors import Refused
from pipeline.store import tasks
from pipeline.store.engine import Row, Transaction

TASK = "close_abnormal"


class Fate(StrEnum):
    """What a person found out about the money."""

    TICKETED = "ticketed"  # debited, and the tickets are there
    REFUNDED = "refunded"  # debited, and 12306 gave it back
    NEVER_DEBITED = "never_debited"


@dataclass(frozen=True, slots=True)
class Proposal:
    """`by`: `human:NAME`; `evidence`: in the proposer's words."""

    by: str
    how: Fate
    debited_fen: int
    evidence: str


def find_task(tx: Transaction, order_no: str) -> Row[Any]:
    """The open task to close this order's purchase. Raises Refused."""
    for task in tasks.find(tx, order_no=order_no):
        if task.kind == TASK:
            return task
    raise Refused("no_task", f"订单 {order_no} 没有待结案的任务")


def proposal_of(task: Row[Any]) -> Proposal | None:
    """What waits for a second person, if anything does."""
    if task.kind != TASK or task.closed_at is not None or not task.resolution:
        return None
    content = json.loads(task.resolution)
    return Proposal(content["by"], Fate(content["how"]), int(content["debited_fen"]), task.evidence or "")
