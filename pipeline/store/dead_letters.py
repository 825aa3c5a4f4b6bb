"""Dead letters: what a stage could not finish. The row is the truth; its `.dlq` message is published from it by the relay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update

from pipeline.reasons import Reason
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import dead_letters
from pipeline.store.types import db_now, one_of


@dataclass(frozen=True, slots=True)
class DeadLetterFacts:
    stage: str
    order_no: str
    generation: int
    agent: str
    reason: Reason
    detail: str
    attempts: int
    amount_fen: int | None
    deadline: datetime | None
    first_at: datetime | None = None
    replays: int = 0


_open_of_order = select(dead_letters).where(dead_letters.c.order_no == bindparam("o"), dead_letters.c.state == "open")
_supersede = (
    update(dead_letters)
    .where(
        dead_letters.c.order_no == bindparam("o"),
        dead_letters.c.state == "open",
        dead_letters.c.generation < bindparam("g"),
    )
    .values(state="superseded", wake_at=None, last_at=db_now())
)
_move = (
    update(dead_letters)
    .where(dead_letters.c.id == bindparam("d"), dead_letters.c.state == bindparam("was"))
    .values(state=bindparam("becomes"), wake_at=None)
)
_unseen = (
    select(dead_letters)
    .where(dead_letters.c.wake_at.is_not(None), dead_letters.c.wake_at <= db_now())
    .order_by(dead_letters.c.wake_at)
)
_published = (
    update(dead_letters)
    .where(dead_letters.c.uid == bindparam("u"), dead_letters.c.seen_at.is_(None), dead_letters.c.wake_at.is_not(None))
    .values(wake_at=bindparam("next", type_=dead_letters.c.wake_at.type), wakes=dead_letters.c.wakes + 1)
)
_seen = (
    update(dead_letters)
    .where(one_of(dead_letters.c.uid), dead_letters.c.seen_at.is_(None))
    .values(seen_at=db_now(), wake_at=None)
)
_came_again = (
    update(dead_letters)
    .where(
        dead_letters.c.uid == bindparam("u"),
        dead_letters.c.last_at < bindparam("at", type_=dead_letters.c.last_at.type),
    )
    .values(
        state="open",
        attempts=dead_letters.c.attempts + 1,
        last_at=bindparam("at", type_=dead_letters.c.last_at.type),
    )
)
_replays_of = (
    select(dead_letters.c.replays)
    .where(dead_letters.c.order_no == bindparam("o"))
    .order_by(dead_letters.c.replays.desc())
    .limit(1)
)


def add(tx: Transaction, facts: DeadLetterFacts) -> None:
    """Store a dead letter; an open one of the same purchase and stage stays the only one."""
    now = tx.run(select(db_now())).scalar_one()
    row = {
        "uid": f"{facts.order_no}:{facts.generation}:{facts.stage}:{facts.reason}:{int(now.timestamp() * 1e6)}",
        "stage": facts.stage,
        "order_no": facts.order_no,
        "generation": facts.generation,
        "agent": facts.agent,
        "reason": facts.reason.value,
        "detail": facts.detail,
        "attempts": facts.attempts,
        "first_at": facts.first_at or now,
        "last_at": now,
        "amount_fen": facts.amount_fen,
        "deadline": facts.deadline,
        "state": "open",
        "replays": tx.run(_replays_of, {"o": facts.order_no}).scalar() or 0,
        "wake_at": now,
    }
    insert_new(tx, dead_letters, [row], dead_letters.c.uid)


def add_raw(tx: Transaction, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Store what the desk drained and nobody had a row for (undecodable input); returns the new uids."""
    return insert_new(tx, dead_letters, rows, dead_letters.c.uid)


def came_again(tx: Transaction, uid: str, at: datetime) -> bool:
    """The same undecodable input arrived once more: its letter is open (again). False: this arrival is known."""
    return tx.moved(_came_again, {"u": uid, "at": at}) > 0


def supersede(tx: Transaction, order_no: str, generation: int) -> None:
    """A newer generation was opened: dead letters of older ones are settled by it."""
    tx.run(_supersede, {"o": order_no, "g": generation})


def open_of(tx: Transaction, order_no: str) -> list[Row[Any]]:
    return tx.rows(_open_of_order, {"o": order_no})


def move(tx: Transaction, dead_letter_id: int, was: str, becomes: str) -> bool:
    """Guarded change of state: open, replayed, discarded, superseded."""
    return tx.moved(_move, {"d": dead_letter_id, "was": was, "becomes": becomes}) > 0


def count_replay(tx: Transaction, dead_letter_id: int) -> None:
    tx.run(update(dead_letters).where(dead_letters.c.id == dead_letter_id).values(replays=dead_letters.c.replays + 1))


def set_note(tx: Transaction, dead_letter_id: int, text: str | None) -> None:
    tx.run(update(dead_letters).where(dead_letters.c.id == dead_letter_id).values(note=text))


def unseen(tx: Transaction, most: int) -> list[Row[Any]]:
    """Dead letters whose `.dlq` message is due to be published (again)."""
    return tx.rows(_unseen.limit(most))


def published(tx: Transaction, uid: str, again_at: datetime) -> None:
    tx.run(_published, {"u": uid, "next": again_at})


def mark_seen(tx: Transaction, uids: Sequence[str]) -> None:
    tx.run(_seen, {"keys": list(uids)})


def by_ids(tx: Transaction, ids: Sequence[int]) -> list[Row[Any]]:
    return tx.rows(select(dead_letters).where(dead_letters.c.id.in_(list(ids))).order_by(dead_letters.c.id))


def find(
    tx: Transaction, *, stage: str | None, reason: str | None, state: str | None, limit: int | None = None
) -> list[Row[Any]]:
    """Dead letters by stage, reason and state, nearest deadline first."""
    query = select(dead_letters).order_by(dead_letters.c.deadline.asc().nulls_last(), dead_letters.c.id)
    for column, wanted in (
        (dead_letters.c.stage, stage),
        (dead_letters.c.reason, reason),
        (dead_letters.c.state, state),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    return tx.rows(query if limit is None else query.limit(limit))


def count_open(tx: Transaction) -> list[tuple[str, str, int]]:
    """(stage, reason, open dead letters) for the metrics."""
    n = func.count().label("n")
    query = select(dead_letters.c.stage, dead_letters.c.reason, n).where(dead_letters.c.state == "open")
    rows = tx.rows(query.group_by(dead_letters.c.stage, dead_letters.c.reason))
    return [(row.stage, row.reason, int(row.n)) for row in rows]
