"""Orders and their purchases: reading the facts, opening a generation, moving states by guarded writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, exists, func, insert, or_, select, update

from pipeline.reasons import Reason
from pipeline.requests import OrderFacts
from pipeline.states import BEFORE_INTENT, Closure, PurchaseState, check
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import meta, orders, purchases, tasks
from pipeline.store.types import db_now, one_of
from pipeline.store.work_keys import PAYING_PAUSED

# On the purchase's own row: a guarded write that waited for this row reads it anew, but any other table as of before.
_has_intent = purchases.c.intent_at.is_not(None)
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_order_with_latest = (
    select(
        orders,
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
_purchases = (
    select(purchases, orders.c.details, orders.c.fare_fen, orders.c.frozen_fen, orders.c.closure)
    .select_from(purchases.join(orders, orders.c.order_no == purchases.c.order_no))
    .where(one_of(purchases.c.id))
)
_add_purchase = insert(purchases).values(accepted_at=db_now(), updated_at=db_now())
_next_generation = (
    update(orders)
    .where(
        orders.c.order_no == bindparam("o"),
        orders.c.generation == bindparam("g"),
        orders.c.closure.is_(None),
        or_(orders.c.refund_requested_at.is_(None), orders.c.refund_closed_at.is_not(None)),
    )
    .values(generation=orders.c.generation + 1, updated_at=db_now())
)
_move = (
    update(purchases)
    .where(purchases.c.id == bindparam("p"), purchases.c.state == bindparam("was"))
    .values(state=bindparam("becomes"), updated_at=db_now())
)
_end = (
    update(purchases)
    .where(purchases.c.id == bindparam("p"), purchases.c.state == bindparam("was"))
    .values(
        state=bindparam("becomes"),
        reason=bindparam("why"),
        detail=bindparam("words"),
        password_sealed=None,
        paid_fen=bindparam("paid"),
        concluded_at=db_now(),
        updated_at=db_now(),
    )
)
_end_before_intent = (
    update(purchases)
    .where(
        purchases.c.id == bindparam("p"),
        purchases.c.state.in_(sorted(state.value for state in BEFORE_INTENT)),
        ~_has_intent,
    )
    .values(
        state=PurchaseState.HELD_UNPAID.value,
        reason=bindparam("why"),
        detail=bindparam("words"),
        password_sealed=None,
        concluded_at=db_now(),
        updated_at=db_now(),
    )
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
_lock = update(orders).where(orders.c.order_no == bindparam("o")).values(updated_at=orders.c.updated_at)
_thaw = (
    update(orders)
    .where(orders.c.order_no == bindparam("o"), orders.c.frozen_fen > 0)
    .values(frozen_fen=0, updated_at=db_now())
)
_awaits_post = (
    select(purchases.c.id)
    .where(
        purchases.c.order_no == bindparam("o"),
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
    .limit(1)
)
_overdue = (
    select(purchases.c.id, purchases.c.order_no, purchases.c.generation)
    .where(
        purchases.c.state.in_(sorted(state.value for state in BEFORE_INTENT)),
        purchases.c.stop_at <= db_now(),
        ~_has_intent,
        # After a restore a payment may have been forgotten: nobody says "unpaid" before it was asked about.
        ~exists(select(meta.c.name).where(meta.c.name == PAYING_PAUSED)),
        ~exists(
            select(tasks.c.id).where(
                tasks.c.order_no == purchases.c.order_no, tasks.c.kind == "recovered_hold", tasks.c.closed_at.is_(None)
            )
        ),
    )
    .order_by(purchases.c.stop_at)
    .limit(bindparam("most"))
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
    """Orders with their latest purchase's state, by order number; unknown ones are missing."""
    return {row.order_no: row for row in tx.rows(_order_with_latest, {"keys": list(order_nos)})}


def load_purchases(tx: Transaction, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """Purchases with their order's details, fare, frozen rest and closure, by purchase id."""
    return {row.id: row for row in tx.rows(_purchases, {"keys": list(ids)})}


def insert_orders(tx: Transaction, rows: Sequence[dict[str, Any]]) -> set[str]:
    """Store orders that are not known yet; returns which were new."""
    return insert_new(tx, orders, rows, orders.c.order_no)


def update_order(tx: Transaction, order_no: str, **values: Any) -> None:
    """Set columns of one order that no guard depends on."""
    tx.run(update(orders).where(orders.c.order_no == order_no).values(**values, updated_at=db_now()))


def update_purchase(tx: Transaction, purchase_id: str, **values: Any) -> None:
    """Set columns of one purchase that no guard depends on."""
    tx.run(update(purchases).where(purchases.c.id == purchase_id).values(**values, updated_at=db_now()))


def open_generation(tx: Transaction, order_no: str, current: int, values: dict[str, Any]) -> str | None:
    """Open generation `current` + 1 with state accepted; its purchase id, or None if the order moved meanwhile."""
    if not tx.moved(_next_generation, {"o": order_no, "g": current}):
        return None
    purchase_id = f"{order_no}:{current + 1}"
    row = {
        "id": purchase_id,
        "order_no": order_no,
        "generation": current + 1,
        "state": PurchaseState.ACCEPTED.value,
        **values,
    }
    tx.run(_add_purchase, row)
    return purchase_id


def move(tx: Transaction, purchase_id: str, was: PurchaseState, becomes: PurchaseState) -> bool:
    """Guarded step to a state that is no end. False: the purchase is no longer in `was`."""
    check(was, becomes)
    return tx.moved(_move, {"p": purchase_id, "was": was.value, "becomes": becomes.value}) > 0


def end(
    tx: Transaction,
    purchase_id: str,
    was: PurchaseState,
    becomes: PurchaseState,
    reason: Reason | None,
    detail: str,
    paid_fen: int,
) -> bool:
    """Guarded step that decides the outcome; the password goes."""
    check(was, becomes)
    values = {
        "p": purchase_id,
        "was": was.value,
        "becomes": becomes.value,
        "why": None if reason is None else reason.value,
        "words": detail,
        "paid": paid_fen,
    }
    return tx.moved(_end, values) > 0


def end_before_intent(tx: Transaction, purchase_id: str, reason: Reason, detail: str) -> bool:
    """End as held_unpaid whatever the state before the intent is. Its open attempt must have been closed first."""
    return tx.moved(_end_before_intent, {"p": purchase_id, "why": reason.value, "words": detail}) > 0


def lock(tx: Transaction, order_no: str) -> None:
    """Make whoever else changes this order wait for us, so that what is read next still stands when it is acted upon."""
    tx.run(_lock, {"o": order_no})


def close(tx: Transaction, order_no: str, generation: int, how: Closure, detail: dict[str, Any]) -> bool:
    """Close an open order whose latest purchase is `generation`. False: it was closed, or imported again, meanwhile."""
    return tx.moved(_close_order, {"o": order_no, "g": generation, "how": how.value, "det": detail}) > 0


def awaits_post(tx: Transaction, order_no: str) -> bool:
    """Whether a submitted payment of this order may still be posted to 12306."""
    return tx.one(_awaits_post, {"o": order_no}) is not None


def thaw(tx: Transaction, order_no: str) -> bool:
    """Mark the order's frozen money as gone. False: it had left before."""
    return tx.moved(_thaw, {"o": order_no}) > 0


def overdue(tx: Transaction, most: int) -> list[Row[Any]]:
    """Purchases without an intent whose `stop_at` has come: (id, order_no, generation). None while a recovery is under way."""
    return tx.rows(_overdue, {"most": most})


def bind_hold(tx: Transaction, purchase_id: str, held_order_no: str, hold_deadline: datetime) -> bool:
    """What the look found. False: the purchase was stopped, or it has its intent."""
    paying = (purchases.c.id == purchase_id, purchases.c.state == PurchaseState.PAYING.value, ~_has_intent)
    values = {"held_order_no": held_order_no, "hold_deadline": hold_deadline, "updated_at": db_now()}
    return tx.moved(update(purchases).where(*paying).values(values)) == 1


def count_by(tx: Transaction) -> list[tuple[str, str | None, int]]:
    """(state, reason, purchases) for the metrics."""
    rows = tx.rows(
        select(purchases.c.state, purchases.c.reason, func.count().label("n")).group_by(
            purchases.c.state, purchases.c.reason
        )
    )
    return [(row.state, row.reason, int(row.n)) for row in rows]


def stop_earlier(tx: Transaction, purchase_id: str, stop_at: datetime) -> None:
    """The hold's deadline turned out to be earlier than what we had."""
    tx.run(
        update(purchases)
        .where(purchases.c.id == purchase_id, purchases.c.stop_at > stop_at)
        .values(stop_at=stop_at, updated_at=db_now())
    )
