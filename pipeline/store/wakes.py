"""What the relay does with work rows: free those whose holder is gone, wake those that are due and unclaimed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import bindparam, case, func, select, update

from pipeline.store.engine import Transaction
from pipeline.store.tables import work
from pipeline.store.types import db_now, seconds_us
from pipeline.store.work import FREE, OWNER_DIED

_reap = (
    update(work)
    .where(work.c.lease_owner.is_not(None), FREE)
    .values(
        deaths=work.c.deaths + case((OWNER_DIED, 1), else_=0),
        lease_owner=None,
        lease_end=None,
        fence=work.c.fence + 1,
        wake_at=db_now(),
        wakes=0,
    )
)
_to_wake = (
    select(work.c.key, work.c.stage, work.c.wakes, work.c.due_at)
    .where(work.c.wake_at <= db_now(), work.c.due_at <= db_now(), work.c.lease_owner.is_(None))
    .order_by(work.c.urgency, work.c.key)
)
_woken = (
    update(work)
    .where(work.c.key == bindparam("k"), work.c.wakes == bindparam("n"))
    .values(wakes=work.c.wakes + 1, wake_at=db_now() + bindparam("wait_us"))
)
_oldest_due = select(func.min(work.c.due_at)).where(work.c.due_at <= db_now(), work.c.lease_owner.is_(None))


def reap(tx: Transaction) -> int:
    """Free the rows whose lease has run out or whose holder is gone, and make them due for a wake-up. Returns how many."""
    return tx.moved(_reap)


def to_wake(tx: Transaction, most: int) -> list[tuple[str, str, int]]:
    """Due, unclaimed rows whose wake-up is due (again): (key, stage, wakes so far), most urgent first."""
    return [(row.key, row.stage, row.wakes) for row in tx.rows(_to_wake.limit(most))]


def woken(tx: Transaction, waits_s: Iterable[tuple[str, int, float]]) -> None:
    """Their wake-ups were published: (key, wakes before, seconds until the next one)."""
    values = [{"k": key, "n": wakes, "wait_us": seconds_us(wait_s)} for key, wakes, wait_s in waits_s]
    if values:
        tx.run(_woken, values)


def oldest_due(tx: Transaction) -> datetime | None:
    """Since when the oldest unclaimed row has been due."""
    moment: datetime | None = tx.run(_oldest_due).scalar_one()
    return moment
