"""Dead letters: what a stage could not finish. The row is the truth; its `.dlq` message is published from it by the relay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Row, Text, bindparam, func, select, text, update

from pipeline.reasons import Reason
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.sets import OverRows
from pipeline.store.tables import dead_letters
from pipeline.store.tables_messages import IS_OPEN
from pipeline.store.types import Instant, db_now, one_of


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


_is_open = text(f"dead_letters.{IS_OPEN}")  # literal: the predicate of its index
# Without what nobody could decode: that has no order.
_open_of_orders = select(*(column for column in dead_letters.c if column is not dead_letters.c.body_sealed)).where(
    one_of(dead_letters.c.order_no), _is_open
)
_supersede = OverRows(
    {"order_no": Text(), "generation": Integer()},
    lambda given: (
        update(dead_letters)
        .where(
            given.has(dead_letters.c.order_no, "order_no"),
            dead_letters.c.state == "open",
            dead_letters.c.generation < given.c.generation,
        )
        .values(state="superseded", wake_at=None, last_at=db_now())
    ),
)
_move = (
    update(dead_letters)
    .where(dead_letters.c.id == bindparam("d"), dead_letters.c.state == bindparam("was"))
    .values(state=bindparam("becomes"), wake_at=None)
)
UNSEEN = (
    select(dead_letters)
    .where(dead_letters.c.wake_at.is_not(None), dead_letters.c.wake_at <= db_now())
    .order_by(dead_letters.c.wake_at)
)
_published = OverRows(
    {"uid": Text(), "next": Instant()},
    lambda given: (
        update(dead_letters)
        .where(
            given.has(dead_letters.c.uid, "uid"), dead_letters.c.seen_at.is_(None), dead_letters.c.wake_at.is_not(None)
        )
        .values(wake_at=given.c.next, wakes=dead_letters.c.wakes + 1)
    ),
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
    select(dead_letters.c.order_no, func.max(dead_letters.c.replays).label("replays"))
    .where(one_of(dead_letters.c.order_no))
    .group_by(dead_letters.c.order_no)
)


def add_all(tx: Transaction, letters: Sequence[DeadLetterFacts]) -> None:
    """Store dead letters; an open one of the same purchase and stage stays the only one."""
    if not letters:
        return
    moment = now(tx)
    keys = {"keys": [facts.order_no for facts in letters]}
    replays = {row.order_no: row.replays for row in tx.rows(_replays_of, keys)}
    rows = [
        {
            "uid": f"{facts.order_no}:{facts.generation}:{facts.stage}:{facts.reason}:{int(moment.timestamp() * 1e6)}",
            "stage": facts.stage,
            "order_no": facts.order_no,
            "generation": facts.generation,
            "agent": facts.agent,
            "reason": facts.reason.value,
            "detail": facts.detail,
            "attempts": facts.attempts,
            "first_at": facts.first_at or moment,
            "last_at": moment,
            "amount_fen": facts.amount_fen,
            "deadline": facts.deadline,
            "state": "open",
            "replays": replays.get(facts.order_no, 0),
            "wake_at": moment,
        }
        for facts in letters
    ]
    insert_new(tx, dead_letters, rows, dead_letters.c.uid)


def add(tx: Transaction, facts: DeadLetterFacts) -> None:
    """The same for one."""
    add_all(tx, [facts])


def add_raw(tx: Transaction, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Store what the desk drained and nobody had a row for (undecodable input); returns the new uids."""
    return insert_new(tx, dead_letters, rows, dead_letters.c.uid)


def came_again(tx: Transaction, uid: str, at: datetime) -> bool:
    """The same undecodable input arrived once more: its letter is open (again). False: this arrival is known."""
    return tx.moved(_came_again, {"u": uid, "at": at}) > 0


def supersede(tx: Transaction, opened: Sequence[tuple[str, int]]) -> None:
    """Newer generations were opened, (order number, generation): dead letters of older ones are settled by them."""
    _supersede.run(tx, opened)


def open_of(tx: Transaction, *order_nos: str) -> list[Row[Any]]:
    """The open dead letters of these orders."""
    return tx.rows(_open_of_orders, {"keys": order_nos}) if order_nos else []


def move(tx: Transaction, dead_letter_id: int, was: str, becomes: str) -> bool:
    """Guarded change of state: open, replayed, discarded, superseded."""
    return tx.moved(_move, {"d": dead_letter_id, "was": was, "becomes": becomes}) > 0


def count_replay(tx: Transaction, dead_letter_id: int) -> None:
    tx.run(update(dead_letters).where(dead_letters.c.id == dead_letter_id).values(replays=dead_letters.c.replays + 1))


def set_note(tx: Transaction, dead_letter_id: int, text: str | None) -> None:
    tx.run(update(dead_letters).where(dead_letters.c.id == dead_letter_id).values(note=text))


def unseen(tx: Transaction, most: int) -> list[Row[Any]]:
    """Dead letters whose `.dlq` message is due to be published (again)."""
    return tx.rows(UNSEEN.limit(most))


def published(tx: Transaction, letters: Sequence[tuple[str, datetime]]) -> None:
    """The `.dlq` messages of these letters are out: (uid, when to publish it again unless the desk has seen it by then)."""
    _published.run(tx, letters)


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
    query = select(dead_letters.c.stage, dead_letters.c.reason, n).where(_is_open)
    rows = tx.rows(query.group_by(dead_letters.c.stage, dead_letters.c.reason))
    return [(row.stage, row.reason, int(row.n)) for row in rows]
