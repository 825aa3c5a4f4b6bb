"""Tasks: what only a person can finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, bindparam, select, text, update

from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_rows
from pipeline.store.tables import tasks
from pipeline.store.types import db_now, one_of
from pipeline.task_kinds import TaskKind

_take = (
    update(tasks)
    .where(tasks.c.id == bindparam("t"), tasks.c.closed_at.is_(None), tasks.c.taken_by.is_(None))
    .values(taken_by=bindparam("who"), taken_at=db_now())
)
_close = (
    update(tasks)
    .where(tasks.c.id == bindparam("t"), tasks.c.closed_at.is_(None))
    .values(
        closed_by=bindparam("who"),
        closed_at=db_now(),
        resolution=bindparam("how"),
        evidence=bindparam("proof"),
    )
)
_propose = (
    update(tasks)
    .where(tasks.c.id == bindparam("t"), tasks.c.closed_at.is_(None))
    .values(resolution=bindparam("how"), evidence=bindparam("proof"))
)
_hand_over = (
    update(tasks)
    .where(
        tasks.c.id == bindparam("t"),
        tasks.c.closed_at.is_(None),
        tasks.c.taken_by.is_not_distinct_from(bindparam("was")),
    )
    .values(taken_by=bindparam("who"), taken_at=db_now())
)
_doubt_over = (
    update(tasks)
    .where(one_of(tasks.c.order_no), tasks.c.kind == TaskKind.IN_DOUBT.value, text("tasks.closed_at IS NULL"))
    .values(closed_by=bindparam("who"), closed_at=db_now(), resolution=bindparam("how"), evidence="")
)


def open_task(tx: Transaction, kind: str, order_no: str, uid: str, reason: str) -> None:
    """Open a task once per `uid`."""
    row = {"uid": uid, "kind": kind, "order_no": order_no, "reason": reason, "opened_at": now(tx)}
    insert_rows(tx, tasks, [row], ignore=True)


def find(tx: Transaction, *, open_only: bool = True, order_no: str | None = None) -> list[Row[Any]]:
    query = select(tasks).order_by(tasks.c.opened_at, tasks.c.id)
    if open_only:
        query = query.where(tasks.c.closed_at.is_(None))
    if order_no is not None:
        query = query.where(tasks.c.order_no == order_no)
    return tx.rows(query)


def by_id(tx: Transaction, task_id: int) -> Row[Any] | None:
    return tx.one(select(tasks).where(tasks.c.id == task_id))


def take(tx: Transaction, task_id: int, who: str) -> bool:
    """False: it is taken or closed."""
    return tx.moved(_take, {"t": task_id, "who": who}) > 0


def hand_over(tx: Transaction, task_id: int, was: str | None, to: str) -> bool:
    """From who has it, or nobody, to another. False: it was closed, or changed hands meanwhile."""
    return tx.moved(_hand_over, {"t": task_id, "was": was, "who": to}) > 0


def doubt_over(tx: Transaction, order_nos: Sequence[str], who: str, outcome: str) -> None:
    """The outcome of these orders' payments is known: nobody has to look any more."""
    tx.run(_doubt_over, {"keys": list(order_nos), "who": who, "how": outcome})


def close(tx: Transaction, task_id: int, who: str, resolution: str, evidence: str) -> bool:
    """False: it was closed before."""
    return tx.moved(_close, {"t": task_id, "who": who, "how": resolution, "proof": evidence}) > 0


def propose(tx: Transaction, task_id: int, resolution: str, evidence: str) -> bool:
    """Write down how it should be closed, for a second person to confirm. False: it was closed before."""
    return tx.moved(_propose, {"t": task_id, "how": resolution, "proof": evidence}) > 0


def drop_proposal(tx: Transaction, task_id: int) -> bool:
    """Nothing is proposed any more. False: it was closed before."""
    return tx.moved(_propose, {"t": task_id, "how": None, "proof": None}) > 0
