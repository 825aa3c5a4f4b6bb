"""Orders and their latest purchase: reading the facts, opening a generation, closing (purchases.py moves the purchases)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Integer, Row, Text, and_, bindparam, exists, or_, select, type_coerce, union_all, update

from pipeline.requests import OrderFacts
from pipeline.states import Closure, PurchaseState
from pipeline.store.claimable import PAYING_IS_PAUSED
from pipeline.store.engine import Transaction
from pipeline.store.purchases import (
    bind_holds,
    end,
    end_all,
    end_before_intent,
    make_ready,
    move,
    move_all,
    nothing_unfrozen,
    overdue,
    settle,
    stop_earlier,
    update_purchase,
)
from pipeline.store.purchases_read import load_purchases, load_to_pay, load_to_settle, load_with_passwords
from pipeline.store.results import COUNTED, NEXT_SEQ, first_seq
from pipeline.store.rows import insert_new, insert_rows
from pipeline.store.sets import OverRows
from pipeline.store.tables import dead_letters, meta, orders, purchases, results
from pipeline.store.types import db_now, one_of
from pipeline.store.work_keys import PAYING_PAUSED

# On the purchase's own row: a guarded write that waited for this row reads it anew, but any other table as of before.
_has_intent = purchases.c.intent_at.is_not(None)
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_order_with_latest = (
    select(
        *(
            column for column in orders.c if column is not orders.c.details
        ),  # nobody decides by it, and it is the dearest
        purchases.c.id.label("purchase_id"),
        purchases.c.state,
        purchases.c.login,
        purchases.c.held_order_no,
        purchases.c.content_digest,
        purchases.c.concluded_at,
        _has_intent.label("intent"),
    )
    .select_from(orders.outerjoin(purchases, _latest))
    .where(one_of(orders.c.order_no))
)
_known = select(orders.c.order_no).where(one_of(orders.c.order_no))
_details = select(orders.c.order_no, type_coerce(orders.c.details, Text).label("details")).where(
    one_of(orders.c.order_no)
)
# Refusals can be told of an order that is not stored, and it can have dead letters; one row more while a recovery is under way.
_past = union_all(
    select(results.c.order_no).where(one_of(results.c.order_no)),
    select(dead_letters.c.order_no).where(one_of(dead_letters.c.order_no)),
    select(meta.c.name).where(meta.c.name == PAYING_PAUSED),
)
_HAS_DEAD_LETTERS = exists(
    select(dead_letters.c.id).where(dead_letters.c.order_no == orders.c.order_no).correlate(orders)
)
# Everything that a new purchase's transaction must know comes with the guarded write: a statement each would be dearer by far.
_next_generation = OverRows(
    {"order_no": Text(), "current": Integer()},
    lambda given: (
        update(orders)
        .where(
            given.has(orders.c.order_no, "order_no"),
            given.guard(
                orders.c.generation == given.c.current,
                orders.c.closure.is_(None),
                or_(orders.c.refund_requested_at.is_(None), orders.c.refund_closed_at.is_not(None)),
            ),
        )
        .values(generation=orders.c.generation + 1, result_seq=first_seq(given, "order_no"), updated_at=db_now())
        .returning(
            *COUNTED,
            PAYING_IS_PAUSED.label("recovering"),
            _HAS_DEAD_LETTERS.label("failed_before"),
        )
    ),
)
_close_order = (
    update(orders)
    .where(orders.c.order_no == bindparam("o"), orders.c.generation == bindparam("g"), orders.c.closure.is_(None))
    .values(
        closure=bindparam("how"),
        closed_at=db_now(),
        close_detail=bindparam("det", type_=orders.c.close_detail.type),
        kept_confirm=None,
        updated_at=db_now(),
    )
)
_lock = update(orders).where(one_of(orders.c.order_no)).values(updated_at=orders.c.updated_at)
_frozen_goes = (
    update(orders).where(one_of(orders.c.order_no), orders.c.frozen_fen > 0).values(frozen_fen=0, updated_at=db_now())
)
_thaw = _frozen_goes.returning(orders.c.order_no)
_thaw_to_tell = _frozen_goes.values(result_seq=NEXT_SEQ).returning(*COUNTED)
_awaits_post = select(purchases.c.order_no).where(
    one_of(purchases.c.order_no),
    _has_intent,
    purchases.c.state.in_(
        sorted(
            state.value
            for state in (
                PurchaseState.PAYING,
                PurchaseState.IN_DOUBT,
                PurchaseState.PURCHASED,
                PurchaseState.PAID_ABNORMAL,
            )
        )
    ),
)


def facts_of(row: Row[Any]) -> OrderFacts:
    """What `requests.decide` needs, from a row of `load`."""
    return OrderFacts(
        joint_trip=row.joint_trip,
        closure=None if row.closure is None else Closure(row.closure),
        refund_requested=row.refund_requested_at is not None and row.refund_closed_at is None,
        generation=row.generation,
        latest=None if row.state is None else PurchaseState(row.state),
        intent=bool(row.intent),
        held_order_no=row.held_order_no,
    )


def load(tx: Transaction, order_nos: Iterable[str]) -> dict[str, Row[Any]]:
    """Orders without their details, with their latest purchase's state, by order number; unknown ones are missing."""
    return {row.order_no: row for row in tx.rows(_order_with_latest, {"keys": list(order_nos)})}


def known(tx: Transaction, order_nos: Iterable[str]) -> set[str]:
    """Those of these orders that are stored."""
    keys = list(order_nos)
    return {row.order_no for row in tx.rows(_known, {"keys": keys})} if keys else set()


def details_of(tx: Transaction, order_nos: Iterable[str]) -> dict[str, str]:
    """The data of each order.paid as JSON text, by order number."""
    return {row.order_no: row.details for row in tx.rows(_details, {"keys": list(order_nos)})}


def without_a_past(tx: Transaction, order_nos: Collection[str]) -> set[str]:
    """Those of these orders of which nothing was told yet and nothing failed; none while a recovery is under way. Those that are
    new can be stored with their first generation open."""
    found = {row.order_no for row in tx.rows(_past, {"keys": list(order_nos)})} if order_nos else set()
    return set() if PAYING_PAUSED in found else set(order_nos) - found


def insert_orders(tx: Transaction, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Store orders that are not known yet; returns which were new."""
    return insert_new(tx, orders, rows, orders.c.order_no)


def update_order(tx: Transaction, order_no: str, **values: Any) -> None:
    """Set columns of one order that no guard depends on."""
    tx.run(update(orders).where(orders.c.order_no == order_no).values(**values, updated_at=db_now()))


def next_generations(tx: Transaction, current: Sequence[tuple[str, int]]) -> dict[str, Row[Any]]:
    """Go from (order number, current generation) to the next, whose purchase is `insert_accepted`'s; each order at most once.

    What `results.emit_accepted` tells of each, by order number, and `recovering`: a recovery is under way, `failed_before`: it
    has dead letters. Missing are orders that moved meanwhile: opened by others, closed, or asked back by the user.
    """
    rows = _next_generation.run(tx, current)
    if rows and tx.stamp is None:
        tx.stamp = rows[0].at
    return {row.order_no: row for row in rows}


def insert_accepted(tx: Transaction, opened: Sequence[tuple[str, int, dict[str, Any]]]) -> None:
    """Store the purchases of opened generations, (order number, generation, columns): the same columns each."""
    rows = [
        {
            "id": f"{order_no}:{generation}",
            "order_no": order_no,
            "generation": generation,
            "state": PurchaseState.ACCEPTED.value,
            **values,
        }
        for order_no, generation, values in opened
    ]
    insert_rows(tx, purchases, rows, stamps=("accepted_at", "updated_at"))


def lock(tx: Transaction, *order_nos: str) -> None:
    """Make whoever else changes these orders wait for us, so that what is read next still stands when it is acted upon."""
    if order_nos:
        tx.run(_lock, {"keys": order_nos})


def close(tx: Transaction, order_no: str, generation: int, how: Closure, detail: dict[str, Any]) -> bool:
    """Close an open order whose latest purchase is `generation`. False: it was closed, or imported again, meanwhile."""
    return tx.moved(_close_order, {"o": order_no, "g": generation, "how": how.value, "det": detail}) > 0


def awaiting_post(tx: Transaction, order_nos: Sequence[str]) -> set[str]:
    """Those of these orders of which a submitted payment may still be posted to 12306."""
    return {row.order_no for row in tx.rows(_awaits_post, {"keys": order_nos})} if order_nos else set()


def thaw(tx: Transaction, *order_nos: str) -> set[str]:
    """Mark the orders' frozen money as gone; those that still had some."""
    return {row.order_no for row in tx.rows(_thaw, {"keys": order_nos})} if order_nos else set()


def thaw_to_tell(tx: Transaction, *order_nos: str) -> dict[str, Row[Any]]:
    """The same, each counted up for the result that tells of it."""
    return {row.order_no: row for row in tx.rows(_thaw_to_tell, {"keys": order_nos})} if order_nos else {}


__all__ = [
    "awaiting_post",
    "bind_holds",
    "close",
    "details_of",
    "end",
    "end_all",
    "end_before_intent",
    "facts_of",
    "insert_accepted",
    "insert_orders",
    "known",
    "load",
    "load_purchases",
    "load_to_pay",
    "load_to_settle",
    "load_with_passwords",
    "lock",
    "make_ready",
    "move",
    "move_all",
    "next_generations",
    "nothing_unfrozen",
    "overdue",
    "settle",
    "stop_earlier",
    "thaw",
    "thaw_to_tell",
    "update_order",
    "update_purchase",
    "without_a_past",
]
