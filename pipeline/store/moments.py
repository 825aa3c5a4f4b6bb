"""When the relay next has something to do, and who committed: what spares a simulation the rounds in which nothing can happen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, event, func, select

from pipeline.states import BEFORE_INTENT
from pipeline.store.engine import Store, Transaction
from pipeline.store.tables import attempts, dead_letters, purchases, results, work, workers
from pipeline.store.types import from_us

_next = (
    select(func.min(func.max(work.c.wake_at, work.c.due_at))).where(work.c.lease_owner.is_(None)),
    select(func.min(work.c.lease_end)),
    select(func.min(workers.c.alive_until)).where(workers.c.id.in_(select(work.c.lease_owner))),
    select(func.min(purchases.c.stop_at)).where(purchases.c.state.in_(sorted(BEFORE_INTENT))),
    select(func.min(dead_letters.c.wake_at)),
    select(func.min(results.c.at)).where(results.c.sent_at.is_(None)),
)
_window = select(func.min(attempts.c.submitted_at + attempts.c.outage_us)).where(
    attempts.c.submitted_at.is_not(None), attempts.c.concluded_at.is_(None)
)


def _moment(value: Any) -> datetime | None:
    return from_us(value) if isinstance(value, int) else value


def next_moment(tx: Transaction, window_s: float) -> datetime | None:
    """The earliest time at which the relay could find something due; None if nothing waits. SQLite only (it takes max of two)."""
    moments = [_moment(tx.run(query).scalar()) for query in _next]
    submitted = tx.run(_window).scalar()
    if submitted is not None:
        at_us = submitted if isinstance(submitted, int) else int(submitted.timestamp() * 1_000_000)
        moments.append(from_us(int(at_us + window_s * 1_000_000)))
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None


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
