"""Breakers, pauses, worker incarnations and crash counts: what all processes share about how things run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, or_, select, update

from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import breakers, meta, pauses, suspects, work, workers
from pipeline.store.types import db_now, seconds_us

_COUNTED_UNTIL = "outage_counted_until"

_open = (
    update(breakers)
    .where(breakers.c.upstream == bindparam("u"), breakers.c.open_since.is_(None))
    .values(open_since=db_now(), next_probe_at=db_now() + bindparam("probe_us"), detail=bindparam("why"))
)
_close = (
    update(breakers)
    .where(breakers.c.upstream == bindparam("u"), breakers.c.open_since.is_not(None))
    .values(open_since=None, next_probe_at=None, detail=None)
)
_elect = (
    update(breakers)
    .where(
        breakers.c.upstream == bindparam("u"), breakers.c.open_since.is_not(None), breakers.c.next_probe_at <= db_now()
    )
    .values(next_probe_at=db_now() + bindparam("probe_us"))
)
_beat = (
    update(workers)
    .where(workers.c.id == bindparam("w"), workers.c.closed_at.is_(None))
    .values(alive_until=db_now() + bindparam("lease_us"))
)
_closed = update(workers).where(workers.c.id == bindparam("w")).values(closed_at=db_now(), alive_until=db_now())
_crew = (
    select(workers.c.stage, func.count().label("n"))
    .where(workers.c.closed_at.is_(None), workers.c.alive_until >= db_now())
    .group_by(workers.c.stage)
)
_died = (
    select(func.count())
    .select_from(workers)
    .where(
        workers.c.stage == bindparam("s"),
        workers.c.closed_at.is_(None),
        workers.c.id != bindparam("w"),
        workers.c.alive_until < db_now(),
        workers.c.started_at >= db_now() - bindparam("since_us"),
    )
)
_suspect = (
    update(suspects)
    .where(suspects.c.digest == bindparam("d"))
    .values(deaths=suspects.c.deaths + 1)
    .returning(suspects.c.deaths)
)
_forget_workers = delete(workers).where(
    or_(workers.c.closed_at < db_now() - bindparam("old_us"), workers.c.alive_until < db_now() - bindparam("old_us"))
)
_all_open = select(breakers).where(breakers.c.open_since.is_not(None))


def open_breakers(tx: Transaction) -> dict[str, Row[Any]]:
    """Open breakers by upstream."""
    return {row.upstream: row for row in tx.rows(_all_open)}


def open_breaker(tx: Transaction, upstream: str, why: str, probe_s: float) -> bool:
    """Open it; False if it was open."""
    insert_new(tx, breakers, [{"upstream": upstream}], breakers.c.upstream)
    return tx.moved(_open, {"u": upstream, "why": why, "probe_us": seconds_us(probe_s)}) > 0


def close_breaker(tx: Transaction, upstream: str) -> datetime | None:
    """Close it; since when it was open, or None if it was closed."""
    row = tx.one(select(breakers.c.open_since).where(breakers.c.upstream == upstream))
    since: datetime | None = None if row is None else row.open_since
    return since if tx.moved(_close, {"u": upstream}) else None


def uncounted_outage(tx: Transaction) -> datetime | None:
    """Since when a breaker has been open, as far as that time was not left out of the windows yet; None: none is open."""
    since: datetime | None = tx.run(select(func.min(breakers.c.open_since))).scalar()
    counted = get_meta(tx, _COUNTED_UNTIL)
    return since if since is None or counted is None else max(since, datetime.fromisoformat(counted))


def outage_counted(tx: Transaction, until: datetime) -> None:
    """Time with a breaker open is left out up to this moment."""
    row = {"name": _COUNTED_UNTIL, "value": until.isoformat()}
    if not insert_new(tx, meta, [row], meta.c.name):
        tx.run(update(meta).where(meta.c.name == _COUNTED_UNTIL).values(value=row["value"]))


def elected_to_probe(tx: Transaction, upstream: str, probe_s: float) -> bool:
    """One worker at a time asks whether the upstream is back."""
    return tx.moved(_elect, {"u": upstream, "probe_us": seconds_us(probe_s)}) > 0


def pause(tx: Transaction, scope: str, name: str, reason: str, actor: str, at: datetime) -> bool:
    """Hold back what has no intent yet. False: it was paused already."""
    row = {"scope": scope, "name": name, "reason": reason, "actor": actor, "at": at}
    return bool(insert_new(tx, pauses, [row], pauses.c.name))


def resume(tx: Transaction, scope: str, name: str) -> bool:
    return tx.moved(delete(pauses).where(pauses.c.scope == scope, pauses.c.name == name)) > 0


def all_pauses(tx: Transaction) -> list[Row[Any]]:
    return tx.rows(select(pauses).order_by(pauses.c.scope, pauses.c.name))


def wake_stage(tx: Transaction, stage: str) -> None:
    """A breaker or pause ended: unclaimed rows of this stage get their wake-up anew."""
    tx.run(
        update(work)
        .where(work.c.stage == stage, work.c.lease_owner.is_(None), work.c.due_at <= db_now())
        .values(wake_at=db_now(), wakes=0)
    )


def register_worker(tx: Transaction, worker: str, stage: str, lease_s: float) -> int:
    """A new incarnation begins. Returns how many incarnations of its stage ended uncleanly within ten minutes."""
    now = db_now()
    tx.run(insert(workers).values(id=worker, stage=stage, started_at=now, alive_until=now + seconds_us(lease_s)))
    return int(tx.run(_died, {"s": stage, "w": worker, "since_us": seconds_us(600)}).scalar_one())


def beat(tx: Transaction, worker: str, stage: str, lease_s: float) -> bool:
    """Renew the heartbeat; an incarnation that was forgotten while the database was away is known again. False: it was closed."""
    if tx.moved(_beat, {"w": worker, "lease_us": seconds_us(lease_s)}):
        return True
    moment = now(tx)
    row = {"id": worker, "stage": stage, "started_at": moment, "alive_until": moment + timedelta(seconds=lease_s)}
    return bool(insert_new(tx, workers, [row], workers.c.id))


def crew(tx: Transaction) -> dict[str, int]:
    """How many workers each stage has, where it has any."""
    return {row.stage: int(row.n) for row in tx.rows(_crew)}


def close_worker(tx: Transaction, worker: str) -> None:
    """A clean end: its leases are free at once, and it counts as no death."""
    tx.run(_closed, {"w": worker})


def forget_workers(tx: Transaction, older_than_s: float) -> None:
    tx.run(_forget_workers, {"old_us": seconds_us(older_than_s)})


def suspect_bodies(tx: Transaction, digests: Iterable[str], at: datetime) -> set[str]:
    """Suspect these intake bodies, which have no row yet; those that nobody suspected so far."""
    rows = [{"digest": digest, "deaths": 0, "at": at} for digest in sorted(digests)]
    return insert_new(tx, suspects, rows, suspects.c.digest)


def count_death(tx: Transaction, digest: str, at: datetime) -> int:
    """Count a possible death by this intake body: its deaths with this one."""
    suspect_bodies(tx, [digest], at)
    return int(tx.run(_suspect, {"d": digest}).scalar_one())


def clear_bodies(tx: Transaction, digests: Iterable[str]) -> None:
    tx.run(delete(suspects).where(suspects.c.digest.in_(list(digests))))


def get_meta(tx: Transaction, name: str) -> str | None:
    value: str | None = tx.run(select(meta.c.value).where(meta.c.name == name)).scalar()
    return value


def set_meta(tx: Transaction, name: str, value: str | None) -> None:
    tx.run(delete(meta).where(meta.c.name == name))
    if value is not None:
        tx.run(insert(meta).values(name=name, value=value))


def bury_workers(tx: Transaction) -> None:
    """Every incarnation that is not closed is dead: for a process that knows it is alone, right after its start."""
    tx.run(update(workers).where(workers.c.closed_at.is_(None)).values(alive_until=db_now() - seconds_us(1)))
