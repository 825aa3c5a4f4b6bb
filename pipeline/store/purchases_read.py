"""Purchases as those read them who bring them on their way. What people are shown of them is in `queries`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, Text, and_, select, type_coerce

from pipeline.ledger import Account
from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts, ledger_balances, orders, purchases
from pipeline.store.types import one_of

# All that is asked of a purchase on its way; what is only ever shown is left where it is.
_ASKED = (
    purchases.c.id,
    purchases.c.order_no,
    purchases.c.generation,
    purchases.c.agent,
    purchases.c.state,
    purchases.c.reason,
    purchases.c.detail,
    purchases.c.login,
    purchases.c.held_order_no,
    purchases.c.hold_deadline,
    purchases.c.stated_fen,
    purchases.c.paid_fen,
    purchases.c.requested_at,
    purchases.c.accepted_at,
    purchases.c.stop_at,
    purchases.c.intent_at,
    orders.c.fare_fen,
    orders.c.frozen_fen,
    orders.c.closure,
)
_load = (
    select(*_ASKED)
    .select_from(purchases.join(orders, orders.c.order_no == purchases.c.order_no))
    .where(one_of(purchases.c.id))
)
# Who has no business with passwords has no right to read the column, not even sealed (rights.py).
_load_with_passwords = _load.add_columns(purchases.c.password_sealed)
_to_pay = (
    select(
        *_ASKED,
        purchases.c.password_sealed,
        type_coerce(orders.c.details, Text).label("details"),
        ledger_balances.c.balance_fen.label("fund_fen"),
    )
    .select_from(
        purchases.join(orders, orders.c.order_no == purchases.c.order_no).outerjoin(
            ledger_balances,
            and_(ledger_balances.c.agent == purchases.c.agent, ledger_balances.c.account == Account.PROCUREMENT.value),
        )
    )
    .where(one_of(purchases.c.id))
)
_to_settle = (
    select(
        purchases.c.id,
        purchases.c.order_no,
        purchases.c.generation,
        purchases.c.agent,
        purchases.c.paid_fen,
        orders.c.frozen_fen,
        attempts.c.id.label("attempt_id"),
        attempts.c.amount_fen,
    )
    .select_from(
        purchases.join(orders, orders.c.order_no == purchases.c.order_no).outerjoin(
            attempts, and_(attempts.c.purchase_id == purchases.c.id, attempts.c.submitted_at.is_not(None))
        )
    )
    .where(one_of(purchases.c.id))
)


def load_purchases(tx: Transaction, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """Purchases without their passwords, with their order's fare, frozen rest and closure, by purchase id."""
    return {row.id: row for row in tx.rows(_load, {"keys": list(ids)})}


def load_with_passwords(tx: Transaction, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The same with their sealed passwords."""
    return {row.id: row for row in tx.rows(_load_with_passwords, {"keys": list(ids)})}


def load_to_pay(tx: Transaction, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The same with their orders' `details` as JSON text and the agent's procurement fund, None where nothing was ever topped up."""
    return {row.id: row for row in tx.rows(_to_pay, {"keys": list(ids)})}


def load_to_settle(tx: Transaction, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """What settling takes of them: whose they are, what was paid, what is still frozen, and the attempt that submitted, if one did
    (`attempt_id`, `amount_fen`); by purchase id."""
    return {row.id: row for row in tx.rows(_to_settle, {"keys": list(ids)})}
