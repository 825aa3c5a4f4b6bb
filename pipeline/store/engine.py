"""Opening the database: PostgreSQL or SQLite, refused at start when it would not keep what it was told to keep."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import CursorResult, Row, make_url
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, SQLAlchemyError
from sqlalchemy.exc import DBAPIError as DatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql import Executable

from pipeline.ports import Clock
from pipeline.store import arrays, session
from pipeline.store.ready import NOTHING, Ready, ReadyStatements, said
from pipeline.store.trouble import CommitUnknown, StoreUnavailable, UnsafeDatabase, translated
from pipeline.store.types import clock_function

T = TypeVar("T")
DEADLOCK_TRIES = 5
DEADLOCK_PAUSE_S = 0.05
_DEADLOCK_CODES = frozenset({"40P01", "40001"})  # deadlock detected, serialization failure
READ_ONLY = "daifu_read_only"


@dataclass(frozen=True, slots=True)
class Presence:
    """In which role a person acts and from where, for the audit log: what an operation itself need not know."""

    role: str
    origin: str


Late = Callable[["Transaction", list[Any]], None]


@dataclass(slots=True)
class Transaction:
    """One open transaction. `wakes` collects the work rows that are due now: published right after the commit."""

    connection: Connection
    patience_s: float = 5.0  # how long the relay leaves a fresh row to its own wake-up
    wakes: dict[str, str] = field(default_factory=dict)  # work key -> stage
    presence: Presence | None = None
    stamp: datetime | None = None  # see clock.stamp
    lost: int = 0  # claimed rows that were no longer ours, for the metrics
    inserts: list[tuple[Any, list[Sequence[Any]]]] | None = None  # see rows.together
    ready: ReadyStatements | None = None  # without them SQLAlchemy executes everything
    put_off: list[tuple[bool, Late, Any]] = field(default_factory=list)

    def late(self, work: Late, item: Any, *, locks: bool = True) -> None:
        """Have `work` do this, and all else it is given, right before the commit. `locks`: it locks rows that many transactions
        want, and comes after what does not."""
        self.put_off.append((locks, work, item))

    def do_late(self) -> None:
        """What was put off until the commit."""
        for locks, work in sorted(dict.fromkeys(each[:2] for each in self.put_off), key=itemgetter(0)):
            work(self, [item for of_locks, of, item in self.put_off if (of_locks, of) == (locks, work)])

    @property
    def postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def run(self, statement: Executable, params: Any = None) -> CursorResult[Any]:
        return self.connection.execute(statement, params)

    def rows(self, statement: Executable, params: Any = None) -> list[Row[Any]]:
        """What it returns, if it returns rows."""
        if (ready := self._ready(statement, params)) is not None:
            return ready.rows(self.connection, params or NOTHING)
        found = self.connection.execute(statement, params)
        return list(found.all()) if found.returns_rows else []

    def one(self, statement: Executable, params: Any = None) -> Row[Any] | None:
        if (ready := self._ready(statement, params)) is None:
            return self.connection.execute(statement, params).one_or_none()
        rows = ready.rows(self.connection, params or NOTHING)
        if len(rows) > 1:
            raise MultipleResultsFound("one row at most was expected")
        return rows[0] if rows else None

    def moved(self, statement: Executable, params: Any = None) -> int:
        """How many rows a guarded write moved."""
        if (ready := self._ready(statement, params)) is not None:
            return ready.moved(self.connection, params or NOTHING)
        return int(self.connection.execute(statement, params).rowcount)

    def _ready(self, statement: Executable, params: Any) -> Ready | None:
        if self.ready is None:
            return None
        return self.ready.find(statement, params or NOTHING, self.connection.dialect)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What fails inside is undone and the transaction goes on; wakes of the failed part, and what it put off, are forgotten."""
        before, put_off = dict(self.wakes), len(self.put_off)
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            self.wakes = before
            del self.put_off[put_off:]
            raise


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What a committed transaction gave, and the work it made due."""

    value: T
    wakes: dict[str, str]
    lost: int = 0  # claimed rows that were no longer ours


def present(presence: Presence, work: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
    """`work` in somebody's presence: what it writes to the audit log says in which role and from where."""

    def in_presence(tx: Transaction) -> T:
        tx.presence = presence
        return work(tx)

    return in_presence


class Store:
    """The database as everything else sees it: `write` and `read` run a function in one transaction."""

    def __init__(self, engine: Engine, clock: Clock, patience_s: float) -> None:
        self.engine = engine
        self.clock = clock
        self.patience_s = patience_s
        # SQLite has one writer; waiting here costs nothing, waiting in SQLite's busy handler costs sleep and luck.
        self._breath = threading.Event()  # never set: waiting on it is a pause
        self._writer: threading.RLock | None = threading.RLock() if engine.dialect.name == "sqlite" else None
        self._ready = ReadyStatements()
        self._apart = engine if self._writer is not None else engine.execution_options(isolation_level="AUTOCOMMIT")

    def write(self, work: Callable[[Transaction], T]) -> Done[T]:
        """Run `work` and commit. A deadlock runs it again, so it must not keep anything outside.

        Raises StoreUnavailable, or CommitUnknown when only the COMMIT's answer is missing.
        """
        for tries_left in reversed(range(DEADLOCK_TRIES)):
            try:
                return self._write_once(work)
            except DBAPIError as error:
                if tries_left and getattr(error.orig, "sqlstate", None) in _DEADLOCK_CODES:
                    self._breath.wait(random.uniform(0.2, 1.0) * DEADLOCK_PAUSE_S)  # let the other one finish first
                    continue
                raise translated(error) from error
            except PoolTimeoutError as error:
                raise StoreUnavailable("every connection of the pool is in use") from error
        raise AssertionError("unreachable: the last try returns or raises")

    def _write_once(self, work: Callable[[Transaction], T]) -> Done[T]:
        if self._writer is None:
            return self._commit(work)
        with self._writer:
            return self._commit(work)

    def _commit(self, work: Callable[[Transaction], T]) -> Done[T]:
        with self.engine.connect() as connection:
            transaction = Transaction(connection, self.patience_s, ready=self._ready)
            connection.begin()
            value = work(transaction)
            transaction.do_late()
            try:
                connection.commit()
            except DBAPIError as error:
                connection.invalidate()  # whatever state it is in, nobody uses it again
                raise CommitUnknown("the database broke off during COMMIT") from error
            return Done(value, transaction.wakes, transaction.lost)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which only reads, in a transaction that is rolled back. It never waits for a writer.

        Raises StoreUnavailable.
        """
        return self._look(self.engine, work)

    def _look(self, engine: Engine, work: Callable[[Transaction], T]) -> T:
        try:
            with engine.connect() as connection:
                reading = connection.execution_options(**{READ_ONLY: True})
                reading.begin()
                return work(Transaction(reading, ready=self._ready))
        except DBAPIError as error:
            raise translated(error) from error
        except PoolTimeoutError as error:
            raise StoreUnavailable("every connection of the pool is in use") from error

    def peek(self, work: Callable[[Transaction], T]) -> T:
        """`read` for a statement or two, on PostgreSQL without a transaction around them: each statement sees the database as it
        is then either way, and BEGIN and ROLLBACK are two round trips.

        Raises StoreUnavailable.
        """
        return self._look(self._apart, work)

    def impatient(self) -> Store:
        """The same database and writer lock for who publishes no wake-ups: the relay takes at once what becomes due."""
        twin = copy(self)
        twin.patience_s = 0.0
        return twin

    def close(self) -> None:
        self.engine.dispose()


def open_store(url: str, clock: Clock, *, patience_s: float = 5.0, pool_size: int = 5, by_index: bool = False) -> Store:
    """Open the database at `url`; `by_index`, for who finds all it reads by an index: see `session.BY_INDEX`. Creates no tables (see
    `migrate`). Raises UnsafeDatabase, StoreUnavailable."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        # Kept open: closing the last connection of a WAL database checkpoints and syncs it each time, 4 ms and more.
        pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": pool_size, "max_overflow": -1}
        engine = create_engine(parsed, hide_parameters=True, **(pool if parsed.database else {}))
        _prepare_sqlite(engine, clock)
    elif parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(
            parsed,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_use_lifo=True,  # the warmest first: its statements are prepared, and it needs no ping
            connect_args=session.connect_args(str(parsed.query.get("options", "")), by_index=by_index),
            hide_parameters=True,
        )
        session.ping_rested(engine)
        arrays.teach(engine)
    else:
        kind = parsed.get_backend_name()
        raise UnsafeDatabase(f"DAIFU_DATABASE_URL: {kind} is not supported, use postgresql or sqlite")
    store = Store(engine, clock, patience_s)
    try:
        _refuse_unsafe(store)
    except BaseException:
        store.close()
        raise
    return store


def _prepare_sqlite(engine: Engine, clock: Clock) -> None:
    now = clock_function(clock.now)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we write BEGIN IMMEDIATE ourselves
        connection.create_function("daifu_now", 0, now)
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=10000")  # first: the next one may have to wait for another process
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reader must not ask for the write lock: it would wait for whoever writes, and they for it.
        reads = connection.get_execution_options().get(READ_ONLY, False)
        said(connection, "BEGIN" if reads else "BEGIN IMMEDIATE")


def _refuse_unsafe(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        mode = store.read(lambda tx: tx.run(text("PRAGMA synchronous")).scalar_one())
        if mode != 2:
            raise UnsafeDatabase("SQLite must run with synchronous=FULL")
        return
    for name in ("fsync", "synchronous_commit"):
        value = store.read(lambda tx, name=name: tx.run(text(f"SHOW {name}")).scalar_one())  # type: ignore[misc]
        if value == "off":
            raise UnsafeDatabase(f"PostgreSQL runs with {name}=off: a paid purchase could be forgotten; switch it on")


__all__ = [
    "CommitUnknown",
    "DatabaseError",
    "Done",
    "Presence",
    "Row",
    "SQLAlchemyError",
    "Store",
    "StoreUnavailable",
    "Transaction",
    "UnsafeDatabase",
    "open_store",
]
