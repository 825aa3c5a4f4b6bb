"""The two subjects of the store's contract: a SQLite file and a PostgreSQL database, each empty at the start of every test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import URL, create_mock_engine, text
from sqlalchemy.engine import Engine

from pipeline.ledger import Account, freeze, top_up
from pipeline.states import PurchaseState
from pipeline.store import attempts, control, ledger, orders, work
from pipeline.store.attempts import Intent
from pipeline.store.engine import Store, Transaction, open_store
from pipeline.store.tables import metadata
from pipeline.store.work import Step, WorkRow, work_key

T = TypeVar("T")

SQLITE, POSTGRESQL = "sqlite", "postgresql"
AGENT, LOGIN, WORKER, HOLD = "xcslw", "agent_user01", "worker-1", "E646076788"
FAR = timedelta(minutes=20)
LEASE_S = 120.0


class HandClock:
    """The wall clock, moved by hand. PostgreSQL has a clock of its own: there tests move the rows instead."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def monotonic(self) -> float:
        return self.now().timestamp()

    def move(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@cache
def _script(dialect: str) -> str:
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        statements.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine(URL.create(dialect), note)
    metadata.create_all(engine, checkfirst=False)
    return ";".join(["BEGIN", *statements, "COMMIT"])


def create_tables(engine: Engine) -> None:
    """All tables of an empty database, as `metadata.create_all` makes them: a thousand tests need not put the same statements
    into words a thousand times."""
    script = _script(f"{engine.dialect.name}+{engine.dialect.driver}")
    with closing(engine.raw_connection()) as connection:
        if engine.dialect.name == SQLITE:
            connection.executescript(script)
        else:
            connection.cursor().execute(script)


_EMPTY = ";".join(
    [
        "ALTER TABLE audit_log DISABLE TRIGGER USER",  # it is append-only, whoever asks
        *(str(table.delete()) for table in reversed(metadata.sorted_tables)),
        "ALTER TABLE audit_log ENABLE TRIGGER USER",
        "SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence",
    ]
)


@contextmanager
def opened(url: str) -> Iterator[Store]:
    """A store with all tables at a fresh database."""
    with opened_again(url) as store:
        create_tables(store.engine)
        yield store


@contextmanager
def emptied(url: str) -> Iterator[Store]:
    """A store at a PostgreSQL database that other tests have used: as if its tables had just been made."""
    with opened_again(url) as store:
        with store.engine.begin() as connection:
            connection.exec_driver_sql(_EMPTY)
        yield store


@contextmanager
def opened_again(url: str) -> Iterator[Store]:
    """Another process' store at a database that has its tables."""
    store = open_store(url, HandClock(), pool_size=8)
    yield store
    store.close()


def url_of(kind: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of a fresh database of that kind."""
    if kind == SQLITE:
        return f"sqlite:///{directory / 'store.sqlite3'}"
    url: str = request.getfixturevalue("fresh_database")
    return url


def write(store: Store, function: Any, *args: Any, **named: Any) -> Any:
    """Run one store function in a transaction of its own."""
    return store.write(lambda tx: function(tx, *args, **named)).value


def read(store: Store, function: Any, *args: Any, **named: Any) -> Any:
    return store.read(lambda tx: function(tx, *args, **named))


def sql(store: Store, statement: str, **values: Any) -> None:
    """A change no code of ours makes: the world as a test needs it."""
    store.write(lambda tx: tx.run(text(statement), values))


def value(store: Store, statement: str, **values: Any) -> Any:
    """The first column of the one row."""
    return store.read(lambda tx: tx.run(text(statement), values).scalar_one_or_none())


def count(store: Store, table: str, where: str = "true") -> int:
    return int(value(store, f"SELECT count(*) FROM {table} WHERE {where}"))  # noqa: S608 - a test's own text


def us_ago(seconds: float) -> int:
    return int((datetime.now(UTC) - timedelta(seconds=seconds)).timestamp() * 1_000_000)


@dataclass(frozen=True, slots=True)
class Paying:
    """A purchase whose attempt is open: all that an intent needs."""

    order_no: str
    intent: Intent
    row: WorkRow

    @property
    def purchase_id(self) -> str:
        return self.intent.purchase_id


def worker(tx: Transaction, name: str = WORKER, stage: str = "payment", lease_s: float = LEASE_S) -> None:
    control.register_worker(tx, name, stage, lease_s)


def order(tx: Transaction, order_no: str, *, agent: str = AGENT, fare_fen: int = 128_400) -> None:
    moment = datetime.now(UTC)
    row = {
        "order_no": order_no,
        "agent": agent,
        "joint_trip": False,
        "details": {},
        "fare_fen": fare_fen,
        "frozen_fen": fare_fen,
        "departure_at": moment + timedelta(days=10),
        "paid_at": moment,
        "created_at": moment,
        "updated_at": moment,
    }
    orders.insert_orders(tx, [row])
    ledger.apply(tx, [freeze(agent, order_no, fare_fen)])


def purchase(tx: Transaction, order_no: str, *, agent: str = AGENT, generation: int = 1, login: str = LOGIN) -> str:
    """The next generation of an order, at credentials."""
    moment = datetime.now(UTC)
    values = {
        "agent": agent,
        "login": login,
        "password_sealed": None,
        "held_order_no": None,
        "stated_fen": None,
        "origin": "queue",
        "requested_at": moment,
        "stop_at": moment + FAR,
    }
    assert orders.next_generations(tx, [(order_no, generation - 1)])
    orders.insert_accepted(tx, [(order_no, generation, values)])
    return f"{order_no}:{generation}"


def intent_of(
    order_no: str,
    *,
    generation: int = 1,
    n: int = 1,
    fence: int = 1,
    hold: str = HOLD,
    fen: int = 124_100,
    agent: str = AGENT,
) -> Intent:
    purchase_id = f"{order_no}:{generation}"
    moment = datetime.now(UTC)
    return Intent(
        attempt_id=f"{purchase_id}:{n}",
        fence=fence,
        purchase_id=purchase_id,
        order_no=order_no,
        generation=generation,
        agent=agent,
        login=LOGIN,
        held_order_no=hold,
        trade_no=f"T{order_no}{n}",
        amount_fen=fen,
        form_deadline=moment + FAR,
        final_after=moment + 2 * FAR,
        urgency=moment + FAR,
    )


def fund(tx: Transaction, fen: int = 1_000_000, agent: str = AGENT) -> None:
    ledger.apply(tx, [top_up(agent, f"{agent}:{fen}", fen, "充值")])


def ready(tx: Transaction, order_no: str, **named: Any) -> str:
    """An order whose purchase waits for its payment, with its pay row."""
    order(tx, order_no, agent=named.get("agent", AGENT))
    purchase_id = purchase(tx, order_no, **named)
    orders.move(tx, purchase_id, PurchaseState.ACCEPTED, PurchaseState.READY)
    work.add(tx, order_no, 1, Step.PAY, urgency=datetime.now(UTC) + FAR)
    return purchase_id


def start_paying(tx: Transaction, order_no: str, owner: str = WORKER, hold: str = HOLD, **named: Any) -> Paying:
    """Claim the pay row and open the attempt, as the payment stage does."""
    (row,) = work.claim(tx, [work_key(order_no, 1, Step.PAY)], owner, LEASE_S)
    purchase_id = row.purchase_id
    assert orders.move(tx, purchase_id, PurchaseState.READY, PurchaseState.PAYING)
    attempts.open_attempt(tx, purchase_id, order_no, 1, LOGIN, row.fence)
    return Paying(order_no, intent_of(order_no, fence=row.fence, hold=hold, **named), row)


def paying(tx: Transaction, order_no: str, hold: str = HOLD, **named: Any) -> Paying:
    """A fresh order right before its intent; the worker must be registered."""
    ready(tx, order_no, agent=named.get("agent", AGENT))
    return start_paying(tx, order_no, hold=hold, **named)


def procurement_and_in_flight(store: Store, agent: str = AGENT) -> tuple[int, int]:
    balances = read(store, ledger.balances, agent)
    return balances[Account.PROCUREMENT], balances[Account.IN_FLIGHT]
