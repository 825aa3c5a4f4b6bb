"""The product's relay, spared the rounds in which nothing can be due: hours of virtual time stay cheap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from pipeline.relay import Relay
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


class LazyRelay(Relay):
    """`commits` counts what others wrote; `rounded` is called after every real round."""

    def attach(self, store: Store, commits: Callable[[], int], rounded: Callable[[], None], window_s: float) -> None:
        self._watched, self._commits, self._rounded, self._window_s = store, commits, rounded, window_s
        self._seen = -1
        self._due: datetime | None = None

    async def tick(self) -> None:
        now = self._watched.clock.now()
        if self._commits() == self._seen and (self._due is None or now < self._due):
            return
        self._seen = -1  # a round that fails is done again
        await super().tick()
        self._rounded()
        self._seen = self._commits()
        self._due = self._watched.read(self._next_due)

    def _next_due(self, tx: Transaction) -> datetime | None:
        moments = [_moment(tx.run(query).scalar()) for query in _next]
        submitted = tx.run(_window).scalar()
        if submitted is not None:
            at_us = submitted if isinstance(submitted, int) else int(submitted.timestamp() * 1_000_000)
            moments.append(from_us(int(at_us + self._window_s * 1_000_000)))
        known = [moment for moment in moments if moment is not None]
        return min(known) if known else None
