"""What an agent's program may ask for: the orders that wait for a ticket, and the open refund requests. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, text

from pipeline.states import Closure, PurchaseState
from pipeline.store.engine import Row, Transaction
from pipeline.store.tables import MAY_WAIT, REFUND_IS_OPEN, orders, purchases
from pipeline.store.types import one_of

Json = dict[str, Any]

# Live, abnormal and finished ones are missing here: such an order must not be bought a second time by its agent.
_ENDED_UNPAID = (PurchaseState.HELD_UNPAID.value, PurchaseState.NEVER_DEBITED.value)
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
# What a NEED_PAY is decided by and no more: the order's JSON is the dearest part of reading a row, and repeats come in thousands.
_standing = (
    select(
        orders.c.order_no,
        orders.c.agent,
        orders.c.joint_trip,
        orders.c.closure,
        orders.c.refund_requested_at,
        orders.c.refund_closed_at,
        orders.c.generation,
        purchases.c.state,
        purchases.c.held_order_no,
        purchases.c.content_digest,
        purchases.c.concluded_at,
        purchases.c.intent_at.is_not(None).label("intent"),
    )
    .select_from(orders.outerjoin(purchases, _latest))
    .where(one_of(orders.c.order_no))
)
_waiting = (
    select(orders.c.details)
    .select_from(orders.outerjoin(purchases, _latest))
    .where(
        orders.c.agent == bindparam("g"),
        text(MAY_WAIT),
        or_(orders.c.refund_requested_at.is_(None), orders.c.refund_closed_at.is_not(None)),
        or_(orders.c.generation == 0, purchases.c.state.in_(_ENDED_UNPAID)),
    )
    .order_by(orders.c.created_at, orders.c.order_no)
)
_refunds = (
    select(orders.c.details)
    .where(
        orders.c.agent == bindparam("g"),
        text(REFUND_IS_OPEN),
        or_(orders.c.closure.is_(None), orders.c.closure == Closure.TICKETED_OFFLINE.value),
    )
    .order_by(orders.c.refund_requested_at, orders.c.order_no)
)


def standing(tx: Transaction, order_nos: Iterable[str]) -> dict[str, Row[Any]]:
    """How orders stand for a NEED_PAY, by order number; unknown ones are missing. Rows that `orders.facts_of` reads."""
    return {row.order_no: row for row in tx.rows(_standing, {"keys": list(order_nos)})}


def waiting_orders(tx: Transaction, agent: str) -> list[Json]:
    """WAIT_TICKET: details of orders that are paid, open, not asked back, and have no live, abnormal or finished purchase."""
    return [row.details for row in tx.rows(_waiting, {"g": agent})]


def refund_requests(tx: Transaction, agent: str) -> list[Json]:
    """APPLY_REFUND: details of orders whose user asked for the money back and was not answered yet."""
    return [row.details for row in tx.rows(_refunds, {"g": agent})]
