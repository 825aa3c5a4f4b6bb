"""Containing a crash loop (DESIGN section 4): whoever may have killed a worker is tried with few others, then alone.

A row counts the unclean deaths of those who touched it. What it is tried with at the same time is counted too, so suspects
go in halves after the first death and one by one after the second; who comes through is suspected no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from sqlalchemy import bindparam, exists, select, update

from pipeline.store.engine import Transaction
from pipeline.store.tables import work
from pipeline.store.types import db_now, one_of, seconds_us
from pipeline.store.work import CLAIMABLE, WorkRow

ALONE_FROM = 2  # deaths
NEXT_TRIAL_S = 5.0  # a suspect that has to wait for the trial of others

_count = update(work).where(one_of(work.c.key), CLAIMABLE).values(deaths=work.c.deaths + 1)
_deaths = select(work.c.key, work.c.deaths).where(one_of(work.c.key), CLAIMABLE)
_absolve = update(work).where(one_of(work.c.key), work.c.deaths > 0).values(deaths=0)
_on_trial = select(
    exists(select(work.c.key).where(work.c.lease_owner == bindparam("owner"), work.c.deaths > 0, ~one_of(work.c.key)))
)
_give_back = (
    update(work)
    .where(one_of(work.c.key), work.c.lease_owner == bindparam("owner"))
    .values(
        lease_owner=None,
        lease_end=None,
        due_at=db_now() + seconds_us(NEXT_TRIAL_S),
        wake_at=db_now() + seconds_us(NEXT_TRIAL_S),
        wakes=0,
    )
)


def deaths_of(tx: Transaction, keys: Iterable[str]) -> dict[str, int]:
    """How often a worker may have died of each of these rows, of those that could be claimed now."""
    return {row.key: row.deaths for row in tx.rows(_deaths, {"keys": list(keys)})}


def count(tx: Transaction, keys: Iterable[str]) -> None:
    """Count a possible unclean death, in a commit right before these rows are touched."""
    tx.run(_count, {"keys": list(keys)})


def absolve(tx: Transaction, keys: Iterable[str]) -> None:
    """Nobody died of these rows."""
    tx.run(_absolve, {"keys": list(keys)})


def groups(deaths: dict[str, int]) -> list[list[str]]:
    """Who is tried together: the unsuspected, two halves after a first death, one by one after the second."""
    fresh = [key for key, seen in deaths.items() if seen == 0]
    once = [key for key, seen in deaths.items() if 0 < seen < ALONE_FROM]
    alone = [[key] for key, seen in deaths.items() if seen >= ALONE_FROM]
    middle = (len(once) + 1) // 2
    return [group for group in (fresh, once[:middle], once[middle:], *alone) if group]


def on_trial(tx: Transaction, rows: Sequence[WorkRow], owner: str) -> list[WorkRow]:
    """Of freshly claimed rows those to be called now. Suspects that have to wait are given back, due in `NEXT_TRIAL_S`."""
    suspects = [row for row in rows if row.deaths]
    if not suspects:
        return list(rows)
    keys = [row.key for row in suspects]
    busy = tx.run(_on_trial, {"owner": owner, "keys": keys}).scalar_one()
    tried = set() if busy else _next_trial(suspects)
    waiting = [key for key in keys if key not in tried]
    tx.run(_give_back, {"keys": waiting, "owner": owner})
    return [row for row in rows if not row.deaths or row.key in tried]


def _next_trial(suspects: Sequence[WorkRow]) -> set[str]:
    """One by one, the least suspect first, so that who kills every time comes last; otherwise one of two fixed halves."""
    alone = [row for row in suspects if row.deaths >= ALONE_FROM]
    if alone:
        return {min(alone, key=lambda row: (row.deaths, row.urgency, row.key)).key}
    half = crc32(suspects[0].key.encode()) % 2
    return {row.key for row in suspects if crc32(row.key.encode()) % 2 == half}
