"""What `daifu bench` needs of the database: a schema of its own, and how far its orders are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ColumnElement, and_, bindparam, exists, func, or_, select, text
from sqlalchemy.engine import make_url

from pipeline.clock import WallClock
from pipeline.states import PurchaseState
from pipeline.store.engine import Transaction, open_store
from pipeline.store.tables import attempts, callbacks, dead_letters, orders, purchases, results, work


@dataclass(frozen=True, slots=True)
class Told:
    """One order's way: when it was accepted, and when its agent had heard."""

    accepted_at: datetime
    delivered_at: datetime


def _span(column: Column[str]) -> ColumnElement[bool]:
    return and_(column >= bindparam("first"), column <= bindparam("last"))


_settled = select(func.count()).where(_span(purchases.c.order_no), purchases.c.state == PurchaseState.SETTLED.value)
# Orders end about as they came: the first that has not ended is soon found, however many there are behind it.
_first_open = (
    select(purchases.c.order_no)
    .where(_span(purchases.c.order_no), purchases.c.state != PurchaseState.SETTLED.value)
    .order_by(purchases.c.order_no)
    .limit(1)
)
_in_work = select(exists().where(_span(work.c.order_no)))
_unsent = select(exists().where(results.c.sent_at.is_(None)))
_told = (
    select(purchases.c.accepted_at, callbacks.c.delivered_at)
    .select_from(purchases.join(callbacks, callbacks.c.order_no == purchases.c.order_no))
    .where(_span(purchases.c.order_no), callbacks.c.state == "delivered")
)
_twice = (
    select(purchases.c.order_no)
    .where(_span(purchases.c.order_no))
    .group_by(purchases.c.order_no)
    .having(func.count() != 1)
)
_not_once = (
    select(orders.c.order_no)
    .select_from(
        orders.join(callbacks, callbacks.c.order_no == orders.c.order_no).join(
            attempts, attempts.c.order_no == orders.c.order_no
        )
    )
    .where(_span(orders.c.order_no))
    .group_by(orders.c.order_no)
    .having(or_(func.count() != 1, func.max(callbacks.c.calls) != 1, func.max(orders.c.frozen_fen) != 0))
)
_states = (
    select(purchases.c.state, purchases.c.reason, func.count().label("orders"))
    .where(_span(purchases.c.order_no))
    .group_by(purchases.c.state, purchases.c.reason)
)
_letters = select(dead_letters.c.order_no).where(_span(dead_letters.c.order_no))


def create_schema(url: str, name: str) -> str:
    """A new, empty schema in the PostgreSQL database at `url`; the URL of a connection that sees only it.

    Raises StoreUnavailable, UnsafeDatabase.
    """
    _run(url, f'CREATE SCHEMA "{name}"')
    parsed = make_url(url).update_query_dict({"options": f"-csearch_path={name}"})
    return parsed.render_as_string(hide_password=False)


def drop_schema(url: str, name: str) -> None:
    """Delete the schema with everything in it. Raises StoreUnavailable."""
    _run(url, f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


def unfinished(tx: Transaction, first: str, last: str, count: int) -> int:
    """How many of the `count` orders numbered `first` to `last` have not ended yet; at least 1 while work or a result waits."""
    span = {"first": first, "last": last}
    left = count - int(tx.run(_settled, span).scalar_one())
    if left:
        return left
    return int(bool(tx.run(_in_work, span).scalar_one() or tx.run(_unsent).scalar_one()))


def first_open(tx: Transaction, first: str, last: str) -> str | None:
    """The first of the orders numbered `first` to `last` that has come and not ended; None where all that came have ended."""
    order_no: str | None = tx.run(_first_open, {"first": first, "last": last}).scalar_one_or_none()
    return order_no


def states(tx: Transaction, first: str, last: str) -> dict[str, int]:
    """How many of them are in which state, and for what reason."""
    rows = tx.rows(_states, {"first": first, "last": last})
    return {f"{row.state} {row.reason or ''}".strip(): row.orders for row in rows}


def ways(tx: Transaction, first: str, last: str) -> list[Told]:
    """Of every order whose agent was told."""
    return [Told(row.accepted_at, row.delivered_at) for row in tx.rows(_told, {"first": first, "last": last})]


def not_ended_once(tx: Transaction, first: str, last: str) -> list[str]:
    """Orders with more or less than one purchase, attempt, callback and call, with money still frozen, or a dead letter."""
    span = {"first": first, "last": last}
    return sorted({row.order_no for query in (_twice, _not_once, _letters) for row in tx.rows(query, span)})


def backend_pid(tx: Transaction) -> int:
    """The process id of a backend of this PostgreSQL server, as the server's machine counts."""
    return int(tx.run(text("SELECT pg_backend_pid()")).scalar_one())


def _run(url: str, statement: str) -> None:
    store = open_store(url, WallClock(), pool_size=1)
    try:
        store.write(lambda tx: tx.run(text(statement)))
    finally:
        store.close()
