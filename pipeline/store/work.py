"""Work rows: the row is the work, the message only wakes someone up (DESIGN section 4).

A row is claimed by a lease of a worker incarnation and a fence; whoever holds both may finish it. It is free when nobody
holds it, or when its lease or its holder's heartbeat has run out. It is deleted by the transaction that finishes its step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, case, delete, exists, insert, or_, select, update

from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import meta, pauses, purchases, work, workers
from pipeline.store.types import db_now, one_of, seconds_us
from pipeline.store.work_keys import PAYING_PAUSED, STAGE_OF, STAGES, Step, WorkRow, split_key, work_key

BRING_TRIES = 5  # a row that is deleted between our insert and our update is inserted the next time

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


_owner_alive = exists(
    select(workers.c.id).where(
        workers.c.id == work.c.lease_owner, workers.c.alive_until >= db_now(), workers.c.closed_at.is_(None)
    )
)
OWNER_DIED = exists(
    select(workers.c.id).where(
        workers.c.id == work.c.lease_owner, workers.c.alive_until < db_now(), workers.c.closed_at.is_(None)
    )
)
FREE = or_(work.c.lease_owner.is_(None), work.c.lease_end < db_now(), ~_owner_alive)

_purchase_of_row = and_(purchases.c.order_no == work.c.order_no, purchases.c.generation == work.c.generation)
# Pause never stops questions; an agent's or account's holds back what has no intent.
_STAGE_PAUSED = exists(select(pauses.c.name).where(pauses.c.scope == "stage", pauses.c.name == work.c.stage))
_PARTY_PAUSED = or_(
    exists(
        select(pauses.c.name).where(pauses.c.scope == "agent", pauses.c.name == purchases.c.agent, _purchase_of_row)
    ),
    exists(
        select(pauses.c.name).where(pauses.c.scope == "account", pauses.c.name == purchases.c.login, _purchase_of_row)
    ),
)
_PAUSED = or_(
    and_(work.c.step != Step.ASK, _STAGE_PAUSED),
    and_(work.c.step.in_((Step.CREDENTIALS, Step.PAY)), _PARTY_PAUSED),
)
_RECOVERING = and_(work.c.step == Step.PAY, exists(select(meta.c.name).where(meta.c.name == PAYING_PAUSED)))
_DUE = and_(work.c.due_at <= db_now(), ~_RECOVERING, ~_PAUSED)
CLAIMABLE = and_(_DUE, FREE)

_claim = (
    update(work)
    # What is ours already and not in hand was claimed by a commit whose answer was lost.
    .where(one_of(work.c.key), _DUE, or_(FREE, work.c.lease_owner == bindparam("owner")))
    .values(
        lease_owner=bindparam("owner"),
        lease_end=db_now() + bindparam("lease_us"),
        fence=work.c.fence + 1,
        deaths=work.c.deaths + case((OWNER_DIED, 1), else_=0),
        wake_at=db_now() + bindparam("lease_us"),
        wakes=0,
        waits_for=None,
    )
    .returning(*_COLUMNS)
)
_take = delete(work).where(one_of(work.c.key), CLAIMABLE).returning(*_COLUMNS)
_finish = delete(work).where(
    work.c.key == bindparam("k"), work.c.fence == bindparam("f"), work.c.version == bindparam("v")
)
_release_changed = (
    update(work)
    .where(work.c.key == bindparam("k"), work.c.fence == bindparam("f"))
    .values(lease_owner=None, lease_end=None, wake_at=work.c.due_at, wakes=0, tries=0, deaths=0)
    .returning(work.c.key, work.c.stage)
)
_again = (
    update(work)
    .where(work.c.key == bindparam("k"), work.c.fence == bindparam("f"), work.c.version == bindparam("v"))
    .values(
        lease_owner=None,
        lease_end=None,
        due_at=bindparam("due"),
        wake_at=bindparam("due"),
        wakes=0,
        tries=work.c.tries + bindparam("counts"),
        deaths=work.c.deaths * bindparam("untried"),  # whoever gives it back after a try is alive
        waits_for=bindparam("login"),
        last_error=bindparam("error"),
        first_failed_at=case((work.c.first_failed_at.is_(None), db_now()), else_=work.c.first_failed_at),
    )
)
_find = select(*_COLUMNS).where(one_of(work.c.key))
_unclaimed = select(*_COLUMNS).where(one_of(work.c.key), FREE)
_delete = delete(work).where(one_of(work.c.key))
_bring_forward = (
    update(work)
    .where(work.c.key == bindparam("k"))
    .values(
        due_at=bindparam("due"),
        wake_at=bindparam("due"),
        wakes=0,
        tries=0,
        version=work.c.version + 1,
        urgency=bindparam("urg"),
    )
)
_freed = update(work).where(one_of(work.c.waits_for)).values(due_at=db_now(), waits_for=None, wake_at=db_now(), wakes=0)


def add(
    tx: Transaction,
    order_no: str,
    generation: int,
    step: Step,
    *,
    urgency: datetime,
    due_at: datetime | None = None,
    lease: tuple[str, float] | None = None,
) -> None:
    """Insert one work row; due now unless `due_at` says later. `lease` = (owner, seconds): born claimed, with fence 1."""
    key, stage = work_key(order_no, generation, step), STAGE_OF[step]
    # The worker publishes what is due now right after the commit; the relay looks after it once its patience is over.
    now = db_now()
    wake: object = due_at if due_at is not None else now + seconds_us(tx.patience_s)
    values: dict[str, object] = {
        "key": key,
        "order_no": order_no,
        "generation": generation,
        "step": step.value,
        "stage": stage,
        "due_at": now if due_at is None else due_at,
        "wake_at": wake,
        "urgency": urgency,
        "created_at": now,
    }
    if lease is not None:
        owner, seconds = lease
        end = now + seconds_us(seconds)
        values.update(lease_owner=owner, lease_end=end, wake_at=end, fence=1)
    tx.run(insert(work).values(**values))
    if due_at is None and lease is None:
        tx.wakes[key] = stage


def bring_forward(
    tx: Transaction, order_no: str, step: Step, *, urgency: datetime, due_at: datetime | None, now: datetime
) -> None:
    """Make the order's row of this step (generation 0) due: insert it, or change the one that is there, claimed or not."""
    key, stage = work_key(order_no, 0, step), STAGE_OF[step]
    due = now if due_at is None else due_at
    row = {
        "key": key,
        "order_no": order_no,
        "generation": 0,
        "step": step.value,
        "stage": stage,
        "due_at": due,
        "wake_at": due,
        "urgency": urgency,
        "created_at": now,
    }
    for _ in range(BRING_TRIES):
        if insert_new(tx, work, [row], work.c.key) or tx.moved(_bring_forward, {"k": key, "due": due, "urg": urgency}):
            break
    else:
        raise RuntimeError(f"{key}: its row comes and goes")  # the whole transaction is done again
    if due_at is None:
        tx.wakes[key] = stage


def claim(tx: Transaction, keys: Iterable[str], owner: str, lease_s: float) -> list[WorkRow]:
    """Lease what is due, free and not paused; soonest `urgency` first."""
    rows = tx.rows(_claim, {"keys": list(keys), "owner": owner, "lease_us": seconds_us(lease_s)})
    return sorted((_row(row) for row in rows), key=lambda row: (row.urgency, row.key))


def take(tx: Transaction, keys: Iterable[str]) -> list[WorkRow]:
    """Delete and return what is due and free: for steps that are one transaction, the delete is the claim."""
    rows = tx.rows(_take, {"keys": list(keys)})
    return sorted((_row(row) for row in rows), key=lambda row: (row.urgency, row.key))


def finish(tx: Transaction, row: WorkRow) -> bool:
    """Delete a claimed row. False: it is no longer ours, or the work changed meanwhile and is due again."""
    if tx.moved(_finish, {"k": row.key, "f": row.fence, "v": row.version}):
        return True
    _release(tx, row)
    return False


def _release(tx: Transaction, row: WorkRow) -> bool:
    """Let go of a row that is ours but changed meanwhile: it is due as the change says."""
    changed = tx.rows(_release_changed, {"k": row.key, "f": row.fence})
    tx.wakes.update({each.key: each.stage for each in changed})
    return bool(changed)


def again(
    tx: Transaction,
    row: WorkRow,
    due_at: datetime,
    error: str | None,
    *,
    counts: bool = True,
    waits_for: str | None = None,
) -> bool:
    """Give a claimed row back, due later; work that changed meanwhile stays due as the change says.

    `counts`: this was a failed try. False: it is no longer ours.
    """
    values = {
        "k": row.key,
        "f": row.fence,
        "v": row.version,
        "due": due_at,
        "counts": int(counts),
        "error": error,
        "login": waits_for,
        "untried": int(waits_for is not None),
    }
    return tx.moved(_again, values) > 0 or _release(tx, row)


def remove(tx: Transaction, keys: Iterable[str]) -> None:
    """Delete rows whoever holds them: their purchase has ended."""
    tx.run(_delete, {"keys": list(keys)})


def account_freed(tx: Transaction, logins: Iterable[str]) -> None:
    """Rows that wait for one of these 12306 accounts are due now."""
    tx.run(_freed, {"keys": list(logins)})


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
    "Step",
    "WorkRow",
    "account_freed",
    "add",
    "again",
    "bring_forward",
    "claim",
    "find",
    "finish",
    "remove",
    "split_key",
    "take",
    "unclaimed",
    "work_key",
]
