"""One SQLite database in memory for all simulations, emptied between them: its compiled statements are what makes them cheap."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from pipeline.ports import Clock
from pipeline.store import tables
from pipeline.store.engine import Store, open_store
from pipeline.store.moments import empty


class BorrowedClock:
    """The clock of whichever house has the database now."""

    def __init__(self) -> None:
        self.owner: Clock

    def now(self) -> datetime:
        return self.owner.now()

    def monotonic(self) -> float:
        return self.owner.monotonic()


def new_store(clock: Clock, patience_s: float) -> Store:
    """A database of its own."""
    store = open_store("sqlite://", clock, patience_s=patience_s)
    tables.metadata.create_all(store.engine)
    return store


@cache
def _shared() -> tuple[Store, BorrowedClock]:
    clock = BorrowedClock()
    return new_store(clock, 0.0), clock


def borrow_store(clock: Clock, patience_s: float) -> Store:
    """The shared database, empty, on this clock."""
    store, borrowed = _shared()
    borrowed.owner = clock
    store.patience_s = patience_s
    empty(store)
    return store


def close_shared_store() -> None:
    if _shared.cache_info().currsize:
        _shared()[0].close()
        _shared.cache_clear()
