"""Callbacks: what the agent was told, is told and will be told. Bodies are stored at the first call and never made anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, bindparam, exists, insert, or_, select, update

from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import callback_calls, callbacks, work
from pipeline.store.types import db_now, one_of

_latest_pending = (
    select(callbacks)
    .where(callbacks.c.order_no == bindparam("o"), callbacks.c.state == "pending")
    # Within a generation 1 and 2 come after every 3: a provisional one that was written late must not overtake them.
    .order_by(callbacks.c.generation.desc(), (callbacks.c.pay_status == "3").asc(), callbacks.c.id.desc())
    .limit(1)
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
    update(callbacks)
    .where(callbacks.c.order_no == bindparam("o"), callbacks.c.state == "pending")
    .values(state="cancelled")
    .returning(callbacks.c.id)
)
_cancel_older = (
    update(callbacks)
    .where(
        callbacks.c.order_no == bindparam("o"),
        callbacks.c.state == "pending",
        callbacks.c.id < bindparam("newest"),
        or_(callbacks.c.generation < bindparam("g"), callbacks.c.pay_status == "3"),
    )
    .values(state="cancelled")
)
_set_body = (
    update(callbacks).where(callbacks.c.id == bindparam("c"), callbacks.c.body.is_(None)).values(body=bindparam("b"))
)
_called = update(callbacks).where(callbacks.c.id == bindparam("c")).values(calls=callbacks.c.calls + 1)
_delivered = (
    update(callbacks)
    .where(callbacks.c.id == bindparam("c"), callbacks.c.state != "cancelled")
    .values(state="delivered", delivered_at=db_now())
)
_exhausted = (
    update(callbacks).where(callbacks.c.id == bindparam("c"), callbacks.c.state == "pending").values(state="exhausted")
)
_state_of = select(callbacks.c.state).where(callbacks.c.id == bindparam("c"))
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
_untold = (
    select(callbacks.c.order_no)
    .where(
        callbacks.c.state == "pending",
        ~exists(
            select(work.c.key).where(
                and_(work.c.order_no == callbacks.c.order_no, work.c.generation == 0, work.c.step == "tell")
            )
        ),
    )
    .distinct()
)
_of_orders = select(callbacks).where(one_of(callbacks.c.order_no)).order_by(callbacks.c.id)
_revive = update(callbacks).where(callbacks.c.id == bindparam("c")).values(state="pending", calls=0)


def prepare(tx: Transaction, order_no: str, generation: int, agent: str, pay_status: str) -> None:
    """There is something new to tell: it replaces what was not delivered yet."""
    row = {
        "order_no": order_no,
        "generation": generation,
        "agent": agent,
        "pay_status": pay_status,
        "webhook_id": f"{order_no}:{generation}:{pay_status}",
        "state": "pending",
        "created_at": tx.run(select(db_now())).scalar_one(),
    }
    new = insert_new(tx, callbacks, [row], callbacks.c.id)
    if new:
        tx.run(_cancel_older, {"o": order_no, "newest": max(new), "g": generation})


def cancel_pending(tx: Transaction, order_no: str) -> int:
    """Nothing told of earlier generations any more."""
    return len(tx.rows(_cancel_pending, {"o": order_no}))


def latest_pending(tx: Transaction, order_no: str) -> Row[Any] | None:
    return tx.one(_latest_pending, {"o": order_no})


def last_delivered(tx: Transaction, order_no: str, generation: int) -> Row[Any] | None:
    return tx.one(_last_delivered, {"o": order_no, "g": generation})


def set_body(tx: Transaction, callback_id: int, body: str) -> None:
    tx.run(_set_body, {"c": callback_id, "b": body})


def record_call(tx: Transaction, callback_id: int, status: int | None, answer: str, *, delivered: bool) -> None:
    """Write down one call and, where the agent took it, that it is delivered."""
    tx.run(
        insert(callback_calls).values(
            callback_id=callback_id, at=db_now(), status=status, answer=answer, delivered=delivered
        )
    )
    tx.run(_called, {"c": callback_id})
    if delivered:
        tx.run(_delivered, {"c": callback_id})


def exhaust(tx: Transaction, callback_id: int) -> None:
    tx.run(_exhausted, {"c": callback_id})


def cancel(tx: Transaction, callback_id: int) -> None:
    tx.run(
        update(callbacks).where(callbacks.c.id == callback_id, callbacks.c.state == "pending").values(state="cancelled")
    )


def revive(tx: Transaction, callback_id: int) -> None:
    """Send a stored callback again by hand, with its schedule from the start."""
    tx.run(_revive, {"c": callback_id})


def calls_of(tx: Transaction, order_no: str) -> list[Row[Any]]:
    return tx.rows(_calls_of_order, {"o": order_no})


def of_orders(tx: Transaction, order_nos: Sequence[str]) -> list[Row[Any]]:
    return tx.rows(_of_orders, {"keys": list(order_nos)})


def untold(tx: Transaction, most: int) -> list[str]:
    """Orders with something to tell that no work row would tell: a defect that the relay mends."""
    return [row.order_no for row in tx.rows(_untold.limit(most))]
