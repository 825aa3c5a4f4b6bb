"""How many calls may begin now: a rate and a concurrency limit per upstream, shared by all workers (DESIGN section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, exists, func, select, update

from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import paces, railway_accounts, workers
from pipeline.store.types import db_now

BURST = timedelta(seconds=1)  # what was not used within the last second is gone

_lock = (
    update(paces)
    .where(paces.c.upstream == bindparam("u"))
    .values(next_slot_at=paces.c.next_slot_at)
    .returning(paces.c.next_slot_at)
)
_advance = (
    update(paces)
    .where(paces.c.upstream == bindparam("u"))
    .values(next_slot_at=bindparam("slot", type_=paces.c.next_slot_at.type))
)
_holder_alive = exists(
    select(workers.c.id).where(
        workers.c.id == railway_accounts.c.lease_owner, workers.c.alive_until >= db_now(), workers.c.closed_at.is_(None)
    )
)
# One account is used by one call at a time, so the leased accounts are the calls in flight.
_in_flight = (
    select(func.count())
    .select_from(railway_accounts)
    .where(railway_accounts.c.lease_owner.is_not(None), railway_accounts.c.lease_end >= db_now(), _holder_alive)
)


@dataclass(frozen=True, slots=True)
class Pace:
    """The limits of one upstream: calls per second, calls at once; None: none."""

    upstream: str
    rate: float | None
    concurrency: int | None


def grant(tx: Transaction, pace: Pace, wanted: int) -> int:
    """How many of `wanted` calls may begin now. The upstream's row is locked until the commit, so two workers can't both
    take the last place."""
    if (pace.rate is None and pace.concurrency is None) or wanted == 0:
        return wanted
    moment = now(tx)
    insert_new(tx, paces, [{"upstream": pace.upstream, "next_slot_at": moment}], paces.c.upstream)
    slot: datetime = tx.run(_lock, {"u": pace.upstream}).scalar_one()
    granted = wanted
    if pace.concurrency is not None:
        granted = max(0, min(granted, pace.concurrency - int(tx.run(_in_flight).scalar_one())))
    if pace.rate is not None:
        begin = max(slot, moment - BURST)
        granted = min(granted, int((moment - begin).total_seconds() * pace.rate) + 1 if begin <= moment else 0)
        tx.run(_advance, {"u": pace.upstream, "slot": begin + granted * timedelta(seconds=1 / pace.rate)})
    return granted


def wait_s(pace: Pace) -> float:
    """How long a call that got no place waits before it asks again."""
    return 0.2 if pace.rate is None else max(0.2, 1 / pace.rate)
