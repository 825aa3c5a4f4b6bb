"""Work rows: the row is the work, the message only wakes someone up (DESIGN section 4).

A row is claimed by a lease of a worker incarnation and a fence; whoever holds both may finish it. It is free when nobody
holds it, or when its lease or its holder's heartbeat has run out. It is deleted by the transaction that finishes its step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, Text, bindparam, case, delete, func, or_, select, update
from sqlalchemy.types import TypeEngine

from pipeline.store.arrivals import add, add_all, bring_forward, bring_forward_all
from pipeline.store.claimable import CLAIMABLE, DUE, FREE, OWNER_DIED
from pipeline.store.clock import stamped
from pipeline.store.engine import Row, Transaction
from pipeline.store.sets import OverRows
from pipeline.store.tables import work
from pipeline.store.types import Instant, db_now, one_of, seconds_us
from pipeline.store.work_keys import (
    PAYING_PAUSED,
    STAGE_OF,
    STAGES,
    Later,
    NewRow,
    Step,
    WorkRow,
    split_key,
    work_key,
)

_COLUMNS = (
    work.c.key,
    work.c.order_no,
    work.c.generation,
    work.c.step,
    work.c.fence,
    work.c.version,
    work.c.tries,
    work.c.deaths,
    work.c.due_at,
    work.c.urgency,
    work.c.created_at,
    work.c.first_failed_at,
)


def _row(values: Sequence[object]) -> WorkRow:
    key, order_no, generation, step, *rest = values
    return WorkRow(key, order_no, generation, Step(str(step)), *rest)  # type: ignore[arg-type] # columns above


_claim = (
    update(work)
    # What is ours already and not in hand was claimed by a commit whose answer was lost.
    .where(one_of(work.c.key), DUE, or_(FREE, work.c.lease_owner == bindparam("owner")))
    .values(
        lease_owner=bindparam("owner"),
        lease_end=db_now() + bindparam("lease_us"),
        fence=work.c.fence + 1,
        deaths=work.c.deaths + case((OWNER_DIED, 1), else_=0),
        wake_at=db_now() + bindparam("lease_us"),
        wakes=0,
        waits_for=None,
    )
    .returning(*_COLUMNS, db_now())
)
_take = delete(work).where(one_of(work.c.key), CLAIMABLE).returning(*_COLUMNS, db_now())
_HELD: dict[str, TypeEngine[Any]] = {"key": Text(), "fence": BigInteger(), "version": Integer()}
_finish = OverRows(
    _HELD, lambda given: delete(work).where(given.holds(work, "key", "fence", "version")).returning(work.c.key)
)
_release_changed = OverRows(
    _HELD,
    lambda given: (
        update(work)
        .where(given.has(work.c.key, "key"), work.c.fence == given.c.fence)
        .values(lease_owner=None, lease_end=None, wake_at=work.c.due_at, wakes=0, tries=0, deaths=0)
        .returning(work.c.key, work.c.stage)
    ),
)
_again = OverRows(
    _HELD | {"due": Instant(), "counts": Integer(), "untried": Integer(), "login": Text(), "error": Text()},
    lambda given: (
        update(work)
        .where(
            given.has(work.c.key, "key"),
            given.guard(work.c.fence == given.c.fence, work.c.version == given.c.version),
        )
        .values(
            lease_owner=None,
            lease_end=None,
            due_at=given.c.due,
            wake_at=given.c.due,
            wakes=0,
            tries=work.c.tries + given.c.counts,
            deaths=work.c.deaths * given.c.untried,  # whoever gives it back after a try is alive
            waits_for=given.c.login,
            last_error=given.c.error,
            first_failed_at=func.coalesce(work.c.first_failed_at, db_now()),
        )
        .returning(work.c.key)
    ),
)
_find = select(*_COLUMNS).where(one_of(work.c.key))
_unclaimed = select(*_COLUMNS).where(one_of(work.c.key), FREE)
_delete = delete(work).where(one_of(work.c.key))
_freed = update(work).where(one_of(work.c.waits_for)).values(due_at=db_now(), waits_for=None, wake_at=db_now(), wakes=0)


def claim(tx: Transaction, keys: Iterable[str], owner: str, lease_s: float) -> list[WorkRow]:
    """Lease what is due, free and not paused; soonest `urgency` first."""
    return _found(tx, tx.rows(_claim, {"keys": list(keys), "owner": owner, "lease_us": seconds_us(lease_s)}))


def take(tx: Transaction, keys: Iterable[str]) -> list[WorkRow]:
    """Delete and return what is due and free: for steps that are one transaction, the delete is the claim."""
    return _found(tx, tx.rows(_take, {"keys": list(keys)}))


def _found(tx: Transaction, found: Sequence[Row[Any]]) -> list[WorkRow]:
    """What a statement returned with the clock behind its columns; soonest `urgency` first."""
    if found:
        stamped(tx, found[0][-1])
    return sorted((_row(row[:-1]) for row in found), key=lambda row: (row.urgency, row.key))


def finish_all(tx: Transaction, rows: Sequence[WorkRow]) -> set[str]:
    """Delete claimed rows; the keys of those that are gone. The others are no longer ours, or their work changed meanwhile
    and is due again."""
    done = {key for (key,) in _finish.run(tx, [(row.key, row.fence, row.version) for row in rows])}
    released = _release(tx, [row for row in rows if row.key not in done])
    tx.lost += len(rows) - len(done) - len(released)
    return done


def finish(tx: Transaction, row: WorkRow) -> bool:
    """Delete one claimed row. False: it is no longer ours, or the work changed meanwhile and is due again."""
    return row.key in finish_all(tx, [row])


def _release(tx: Transaction, rows: Sequence[WorkRow]) -> set[str]:
    """Let go of rows that are ours but changed meanwhile: they are due as the change says."""
    changed = _release_changed.run(tx, [(row.key, row.fence, row.version) for row in rows])
    tx.wakes.update({each.key: each.stage for each in changed})
    return {each.key for each in changed}


def again_all(tx: Transaction, rows: Sequence[Later]) -> set[str]:
    """Give claimed rows back; work that changed meanwhile stays due as the change says. The keys of those that were ours."""
    values = [
        (
            later.row.key,
            later.row.fence,
            later.row.version,
            later.due_at,
            int(later.counts),
            int(later.waits_for is not None),
            later.waits_for,
            later.error,
        )
        for later in rows
    ]
    given_back = {key for (key,) in _again.run(tx, values)}
    ours = given_back | _release(tx, [later.row for later in rows if later.row.key not in given_back])
    tx.lost += len(rows) - len(ours)
    return ours


def again(
    tx: Transaction,
    row: WorkRow,
    due_at: datetime,
    error: str | None,
    *,
    counts: bool = True,
    waits_for: str | None = None,
) -> bool:
    """Give one claimed row back. False: it is no longer ours."""
    return row.key in again_all(tx, [Later(row, due_at, error, counts, waits_for)])


def remove(tx: Transaction, keys: Iterable[str]) -> None:
    """Delete rows whoever holds them: their purchase has ended."""
    if named := list(keys):
        tx.rows(_delete, {"keys": named})


def account_freed(tx: Transaction, logins: Iterable[str]) -> None:
    """Rows that wait for one of these 12306 accounts are due now."""
    tx.rows(_freed, {"keys": list(logins)})


def unclaimed(tx: Transaction, keys: Iterable[str]) -> list[WorkRow]:
    """The rows with these keys that nobody holds."""
    return [_row(row) for row in tx.rows(_unclaimed, {"keys": list(keys)})]


def find(tx: Transaction, keys: Iterable[str]) -> list[WorkRow]:
    """The rows with these keys, whoever holds them."""
    return [_row(row) for row in tx.rows(_find, {"keys": list(keys)})]


__all__ = [
    "CLAIMABLE",
    "FREE",
    "OWNER_DIED",
    "PAYING_PAUSED",
    "STAGES",
    "STAGE_OF",
    "Later",
    "NewRow",
    "Step",
    "WorkRow",
    "account_freed",
    "add",
    "add_all",
    "again",
    "again_all",
    "bring_forward",
    "bring_forward_all",
    "claim",
    "find",
    "finish",
    "finish_all",
    "remove",
    "split_key",
    "take",
    "unclaimed",
    "work_key",
]
