"""What the relay does with work rows: free those whose holder is gone, wake those that are due and unclaimed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import BigInteger, Integer, Text, bindparam, case, func, select, update

from pipeline.store.engine import Transaction
from pipeline.store.sets import OverRows
from pipeline.store.tables import work
from pipeline.store.types import db_now, seconds_us
from pipeline.store.work import FREE, OWNER_DIED

LOOKED_AT = 3  # times as many as are woken

_holder_gone = (work.c.lease_owner.is_not(None), FREE)
TO_REAP = select(work.c.key).where(*_holder_gone)
_reap = (
    update(work)
    .where(*_holder_gone)
    .values(
        deaths=work.c.deaths + case((OWNER_DIED, 1), else_=0),
        lease_owner=None,
        lease_end=None,
        fence=work.c.fence + 1,
        wake_at=db_now(),
        wakes=0,
    )
)
_due_to_wake = (work.c.wake_at <= db_now(), work.c.due_at <= db_now(), work.c.lease_owner.is_(None))
DUE_TO_WAKE = select(work.c.key).where(*_due_to_wake)
# The longest due first, as many as are looked at; of these the most urgent. A backlog must not be sorted in every round.
_looked_at = (
    select(work.c.key, work.c.stage, work.c.wakes, work.c.urgency)
    .where(*_due_to_wake)
    .order_by(work.c.wake_at)
    .limit(bindparam("looked_at"))
    .subquery()
)
_to_wake = (
    select(_looked_at.c.key, _looked_at.c.stage, _looked_at.c.wakes)
    .order_by(_looked_at.c.urgency, _looked_at.c.key)
    .limit(bindparam("most"))
)
_woken = OverRows(
    {"key": Text(), "wakes": Integer(), "wait_us": BigInteger()},
    lambda given: (
        update(work)
        .where(given.has(work.c.key, "key"), work.c.wakes == given.c.wakes)
        .values(wakes=work.c.wakes + 1, wake_at=db_now() + given.c.wait_us)
    ),
)
_oldest_due = select(func.min(work.c.due_at)).where(work.c.due_at <= db_now(), work.c.lease_owner.is_(None))


def reap(tx: Transaction) -> int:
    """Free the rows whose lease has run out or whose holder is gone, and make them due for a wake-up. Returns how many."""
    return tx.moved(_reap)


def to_wake(tx: Transaction, most: int) -> list[tuple[str, str, int]]:
    """Due, unclaimed rows whose wake-up is due (again): (key, stage, wakes so far), most urgent first."""
    return [(row.key, row.stage, row.wakes) for row in tx.rows(_to_wake, {"looked_at": LOOKED_AT * most, "most": most})]


def woken(tx: Transaction, waits_s: Iterable[tuple[str, int, float]]) -> None:
    """Their wake-ups were published: (key, wakes before, seconds until the next one)."""
    _woken.run(tx, [(key, wakes, seconds_us(wait_s)) for key, wakes, wait_s in waits_s])


def oldest_due(tx: Transaction) -> datetime | None:
    """Since when the oldest unclaimed row has been due."""
    moment: datetime | None = tx.run(_oldest_due).scalar_one()
    return moment
