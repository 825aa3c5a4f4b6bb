"""Erasing personal data of orders that are over. Append-only tables hold none: they stay as they are."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, exists, or_, select, update

from pipeline.retention import without_personal
from pipeline.states import PurchaseState
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.tables import dead_letters, orders, purchases, tasks, work
from pipeline.store.types import db_now

#: A purchase that goes no further by itself or by a person.
_OVER = sorted(
    it.value
    for it in (
        PurchaseState.SETTLED,
        PurchaseState.HELD_UNPAID,
        PurchaseState.REFUNDED,
        PurchaseState.NEVER_DEBITED,
    )
)
_before = bindparam("before", type_=orders.c.created_at.type)
# Soonest bound first: an order is never over before it is created, so the partial index ends the search.
_due = (
    select(orders.c.order_no, orders.c.details)
    .where(
        orders.c.erased_at.is_(None),
        orders.c.created_at < _before,
        orders.c.updated_at < _before,
        orders.c.departure_at < _before,
        orders.c.frozen_fen == 0,
        or_(orders.c.refund_requested_at.is_(None), orders.c.refund_closed_at.is_not(None)),
        ~exists(select(work.c.key).where(work.c.order_no == orders.c.order_no)),
        ~exists(select(tasks.c.id).where(tasks.c.order_no == orders.c.order_no, tasks.c.closed_at.is_(None))),
        ~exists(
            select(purchases.c.id).where(
                purchases.c.order_no == orders.c.order_no,
                or_(purchases.c.state.not_in(_OVER), purchases.c.updated_at >= _before),
            )
        ),
    )
    .order_by(orders.c.created_at)
    .limit(bindparam("most"))
)
_erase = (
    update(orders)
    .where(orders.c.order_no == bindparam("o"), orders.c.erased_at.is_(None))
    .values(details=bindparam("left", type_=orders.c.details.type), erased_at=db_now())
)
_forget_bodies = (
    update(dead_letters)
    .where(
        dead_letters.c.id.in_(
            select(dead_letters.c.id)
            .where(
                dead_letters.c.body_sealed.is_not(None),
                dead_letters.c.state != "open",
                dead_letters.c.last_at < bindparam("before", type_=dead_letters.c.last_at.type),
            )
            .limit(bindparam("most"))
        )
    )
    .values(body_sealed=None)
)


def erase(tx: Transaction, keep: timedelta, most: int) -> int:
    """Take ID numbers and phones out of at most `most` orders that nothing has happened to for `keep`, and the undecodable
    bodies out of closed dead letters of that age; how many were erased. Less than `most`: there are no more."""
    before = now(tx) - keep
    due = tx.rows(_due, {"before": before, "most": most})
    for row in due:
        tx.run(_erase, {"o": row.order_no, "left": without_personal(row.details)})
    return max(len(due), tx.moved(_forget_bodies, {"before": before, "most": most}))
