"""Callbacks: what the agent was told, is told and will be told. Bodies are stored at the first call and never made anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    Row,
    Text,
    and_,
    bindparam,
    case,
    exists,
    or_,
    select,
    text,
    update,
)

from pipeline.store.engine import Transaction
from pipeline.store.rows import append_rows, insert_returning
from pipeline.store.sets import Given, OverRows
from pipeline.store.tables import callback_calls, callbacks
from pipeline.store.tables_agents import IS_PENDING
from pipeline.store.types import db_now, one_of
from pipeline.store.work_keys import Step, has_row


def _delivers(given: Given) -> ColumnElement[bool]:
    return and_(given.c.delivered, callbacks.c.state != "cancelled")


_pending = (
    select(callbacks)
    .where(one_of(callbacks.c.order_no), callbacks.c.state == "pending")
    # Within a generation 1 and 2 come after every 3: a provisional one that was written late must not overtake them.
    .order_by(callbacks.c.generation, (callbacks.c.pay_status == "3").desc(), callbacks.c.id)
)
_last_delivered = (
    select(callbacks)
    .where(
        callbacks.c.order_no == bindparam("o"),
        callbacks.c.generation == bindparam("g"),
        callbacks.c.state == "delivered",
    )
    .order_by(callbacks.c.delivered_at.desc(), callbacks.c.id.desc())
    .limit(1)
)
_cancel_pending = (
    update(callbacks).where(one_of(callbacks.c.order_no), callbacks.c.state == "pending").values(state="cancelled")
)
_cancel_older = OverRows(
    {"order_no": Text(), "newest": BigInteger(), "generation": Integer()},
    lambda given: (
        update(callbacks)
        .where(
            given.has(callbacks.c.order_no, "order_no"),
            callbacks.c.state == "pending",
            callbacks.c.id < given.c.newest,
            or_(callbacks.c.generation < given.c.generation, callbacks.c.pay_status == "3"),
        )
        .values(state="cancelled")
    ),
)
_set_body = OverRows(
    {"id": BigInteger(), "body": Text()},
    lambda given: (
        update(callbacks)
        .where(given.has(callbacks.c.id, "id"), given.guard(callbacks.c.body.is_(None)))
        .values(body=given.c.body)
    ),
)
_called = OverRows(
    {"id": BigInteger(), "delivered": Boolean()},
    lambda given: (
        update(callbacks)
        .where(given.has(callbacks.c.id, "id"))
        .values(
            calls=callbacks.c.calls + 1,
            state=case((_delivers(given), "delivered"), else_=callbacks.c.state),
            delivered_at=case((_delivers(given), db_now()), else_=callbacks.c.delivered_at),
        )
    ),
)
_exhausted = OverRows(
    {"id": BigInteger()},
    lambda given: (
        update(callbacks)
        .where(given.has(callbacks.c.id, "id"), callbacks.c.state == "pending")
        .values(state="exhausted")
    ),
)
_calls_of_order = (
    select(
        callback_calls.c.at,
        callbacks.c.pay_status,
        callback_calls.c.answer,
        callback_calls.c.status,
        callback_calls.c.delivered,
    )
    .select_from(callback_calls.join(callbacks, callbacks.c.id == callback_calls.c.callback_id))
    .where(callbacks.c.order_no == bindparam("o"))
    .order_by(callback_calls.c.id)
)
_newer = callbacks.alias("newer")
_undelivered = (
    select(callbacks.c.order_no)
    .where(
        callbacks.c.agent == bindparam("agent"),
        callbacks.c.state.in_(("pending", "exhausted")),
        ~exists(select(_newer.c.id).where(_newer.c.order_no == callbacks.c.order_no, _newer.c.id > callbacks.c.id)),
    )
    .order_by(callbacks.c.id)
)
_untold = (
    select(callbacks.c.order_no)
    .where(
        text(f"callbacks.{IS_PENDING}"),
        ~has_row(callbacks.c.order_no, Step.TELL),
    )
    .distinct()
)
_of_orders = select(callbacks).where(one_of(callbacks.c.order_no)).order_by(callbacks.c.id)
_revive = update(callbacks).where(callbacks.c.id == bindparam("c")).values(state="pending", calls=0)


class Telling(NamedTuple):
    """Something new to tell about an order."""

    order_no: str
    generation: int
    agent: str
    pay_status: str


class CallMade(NamedTuple):
    """One call, and whether the agent took it. `status` is HTTP's, None when there was no answer."""

    callback_id: int
    status: int | None
    answer: str
    delivered: bool


def prepare_all(tx: Transaction, tellings: Sequence[Telling]) -> None:
    """There is something new to tell of each order: it replaces what was not delivered yet. Each order at most once."""
    rows = [
        {
            "order_no": one.order_no,
            "generation": one.generation,
            "agent": one.agent,
            "pay_status": one.pay_status,
            "webhook_id": f"{one.order_no}:{one.generation}:{one.pay_status}",
            "state": "pending",
        }
        for one in tellings
    ]
    new = insert_returning(tx, callbacks, rows, ("order_no", "id", "generation"), stamps=("created_at",))
    _cancel_older.run(tx, [(row.order_no, row.id, row.generation) for row in new])


def prepare(tx: Transaction, order_no: str, generation: int, agent: str, pay_status: str) -> None:
    """The same for one order."""
    prepare_all(tx, [Telling(order_no, generation, agent, pay_status)])


def cancel_pending(tx: Transaction, *order_nos: str) -> None:
    """Nothing told of earlier generations any more."""
    if order_nos:
        tx.run(_cancel_pending, {"keys": order_nos})


def pending(tx: Transaction, order_nos: Iterable[str]) -> dict[str, Row[Any]]:
    """What is to be told next of each order, by order number; missing where there is nothing."""
    return {row.order_no: row for row in tx.rows(_pending, {"keys": list(order_nos)})}


def latest_pending(tx: Transaction, order_no: str) -> Row[Any] | None:
    """The same for one order."""
    return pending(tx, [order_no]).get(order_no)


def last_delivered(tx: Transaction, order_no: str, generation: int) -> Row[Any] | None:
    return tx.one(_last_delivered, {"o": order_no, "g": generation})


def set_bodies(tx: Transaction, bodies: Sequence[tuple[int, str]]) -> None:
    """Keep the bytes of first calls: (callback id, body)."""
    _set_body.run(tx, bodies)


def record_calls(tx: Transaction, calls: Sequence[CallMade]) -> None:
    """Write down calls and, where the agent took them, that they are delivered."""
    rows = [
        {
            "callback_id": one.callback_id,
            "status": one.status,
            "answer": one.answer,
            "delivered": one.delivered,
        }
        for one in calls
    ]
    append_rows(tx, callback_calls, rows, stamps=("at",))
    _called.run(tx, [(one.callback_id, one.delivered) for one in calls])


def record_call(tx: Transaction, callback_id: int, status: int | None, answer: str, *, delivered: bool) -> None:
    """The same for one."""
    record_calls(tx, [CallMade(callback_id, status, answer, delivered)])


def exhaust(tx: Transaction, callback_ids: Sequence[int]) -> None:
    """They are not tried any more."""
    _exhausted.run(tx, [(callback_id,) for callback_id in callback_ids])


def revive(tx: Transaction, callback_id: int) -> None:
    """Send a stored callback again by hand, with its schedule from the start."""
    tx.run(_revive, {"c": callback_id})


def undelivered(tx: Transaction, agent: str) -> list[str]:
    """Orders whose latest outcome this agent has not taken, whether calls go on or were given up; oldest first."""
    return [str(row.order_no) for row in tx.rows(_undelivered, {"agent": agent})]


def calls_of(tx: Transaction, order_no: str) -> list[Row[Any]]:
    return tx.rows(_calls_of_order, {"o": order_no})


def of_orders(tx: Transaction, order_nos: Sequence[str]) -> list[Row[Any]]:
    return tx.rows(_of_orders, {"keys": list(order_nos)})


def place(row: Row[Any]) -> tuple[int, bool, int]:
    """Where a callback stands among its order's: within a generation 1 and 2 come after every 3."""
    return row.generation, row.pay_status != "3", row.id


def untold(tx: Transaction, most: int) -> list[str]:
    """Orders with something to tell that no work row would tell: a defect that the relay mends."""
    return [row.order_no for row in tx.rows(_untold.limit(most))]
