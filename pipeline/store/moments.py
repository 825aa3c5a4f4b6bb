"""What a simulation sees and does inside the database: when the relay next has something to do (what spares it the rounds in
which nothing can happen), who committed, and statements that fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    ScalarSelect,
    bindparam,
    event,
    func,
    select,
    text,
    type_coerce,
)
from sqlalchemy.exc import OperationalError

from pipeline.states import BEFORE_INTENT
from pipeline.store.engine import Store, Transaction
from pipeline.store.tables import attempts, dead_letters, metadata, purchases, results, work, workers
from pipeline.store.types import from_us, seconds_us, to_us

_after = bindparam("after", type_=BigInteger())


def _first(moment: ColumnElement[Any], *conditions: ColumnElement[bool], past: int = 0) -> ScalarSelect[Any]:
    """The earliest of these moments that is later than `after`, in microseconds; `past` is 1 for one that counts only once it
    has passed: a lease is still good at its last moment."""
    us = type_coerce(moment, BigInteger()) + past
    return select(func.min(us)).where(us > _after, *conditions).scalar_subquery()


_next = select(
    _first(func.max(work.c.wake_at, work.c.due_at), work.c.lease_owner.is_(None)),
    _first(work.c.lease_end, past=1),
    _first(workers.c.alive_until, workers.c.id.in_(select(work.c.lease_owner)), past=1),
    _first(purchases.c.stop_at, purchases.c.state.in_(sorted(BEFORE_INTENT))),
    _first(dead_letters.c.wake_at),
    _first(results.c.at, results.c.sent_at.is_(None)),
    _first(
        attempts.c.submitted_at + attempts.c.outage_us + bindparam("window_us", type_=BigInteger()),
        attempts.c.submitted_at.is_not(None),
        attempts.c.concluded_at.is_(None),
    ),
)


def next_moment(tx: Transaction, window_s: float, after: datetime | None = None) -> datetime | None:
    """The earliest time, later than `after`, at which the relay could find something due; None if nothing waits. SQLite only
    (it takes max of two)."""
    given = {"after": 0 if after is None else to_us(after), "window_us": seconds_us(window_s)}
    known = [us for row in tx.rows(_next, given) for us in row if us is not None]
    return from_us(min(known)) if known else None


def watch_commits(store: Store, changed: Callable[[bool], None]) -> Callable[[], None]:
    """Call `changed(did rows change)` at every commit of this SQLite store; the function returned ends it."""
    seen = 0

    def note(connection: Connection) -> None:
        nonlocal seen
        total = getattr(connection.connection.driver_connection, "total_changes", 0)
        news, seen = total != seen, total
        changed(news)

    event.listen(store.engine, "commit", note)
    return lambda: event.remove(store.engine, "commit", note)


def break_statements(store: Store, breaks: Callable[[], bool]) -> Callable[[], None]:
    """Before every statement of this store `breaks` is asked; where it says so the statement fails as a lost connection does.
    The function returned ends it."""

    def strike(*_args: Any) -> None:
        if breaks():
            raise OperationalError("", None, sqlite3.OperationalError("the connection broke"))

    event.listen(store.engine, "before_cursor_execute", strike)
    return lambda: event.remove(store.engine, "before_cursor_execute", strike)


def empty(store: Store) -> None:
    """Delete every row of this SQLite store, also of tables that only grow: their triggers are put aside meanwhile."""

    def delete_all(tx: Transaction) -> None:
        triggers = tx.rows(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        for trigger in triggers:
            tx.run(text(f"DROP TRIGGER {trigger.name}"))
        for table in metadata.sorted_tables:
            tx.run(table.delete())
        for trigger in triggers:
            tx.run(text(trigger.sql))

    store.write(delete_all)
