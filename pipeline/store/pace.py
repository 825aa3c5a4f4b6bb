"""How many calls may begin now: a rate and a concurrency limit per upstream, shared by all workers (DESIGN section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, select, update

from pipeline.store.claimable import FREE
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import paces, work

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
# Every call is a row of payment that a living worker has leased; the accounts, of which each call leases one, may be millions.
# One whose row went meanwhile, as its purchase was ended elsewhere, is not counted until it is over: a limit is no promise of money.
_leased = select(func.count()).where(work.c.lease_owner.is_not(None), work.c.stage == "payment", ~FREE)


@dataclass(frozen=True, slots=True)
class Pace:
    """The limits of one upstream: calls per second, calls at once; None: none."""

    upstream: str
    rate: float | None
    concurrency: int | None


def grant(tx: Transaction, pace: Pace, wanted: int, *, claimed: int) -> int:
    """How many of `wanted` calls may begin now, out of the `claimed` rows that this transaction has leased. The upstream's row is
    locked until the commit, so two workers can't both take the last place."""
    if (pace.rate is None and pace.concurrency is None) or wanted == 0:
        return wanted
    moment = now(tx)
    insert_new(tx, paces, [{"upstream": pace.upstream, "next_slot_at": moment}], paces.c.upstream)
    slot: datetime = tx.run(_lock, {"u": pace.upstream}).scalar_one()
    granted = wanted
    if pace.concurrency is not None:
        in_flight = int(tx.run(_leased).scalar_one()) - claimed
        granted = max(0, min(granted, pace.concurrency - in_flight))
    if pace.rate is not None:
        begin = max(slot, moment - BURST)
        granted = min(granted, int((moment - begin).total_seconds() * pace.rate) + 1 if begin <= moment else 0)
        tx.run(_advance, {"u": pace.upstream, "slot": begin + granted * timedelta(seconds=1 / pace.rate)})
    return granted


def wait_s(pace: Pace) -> float:
    """How long a call that got no place waits before it asks again."""
    return 0.2 if pace.rate is None else max(0.2, 1 / pace.rate)
