"""What a restore may have lost: payments submitted after the backup was made (DESIGN section 5.6)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, select

from pipeline.states import BEFORE_INTENT
from pipeline.store import control
from pipeline.store.engine import Row, Transaction
from pipeline.store.tables import attempts, orders, purchases

RESTORED_AT = "restored_at"

_before_intent = (
    select(purchases.c.id, purchases.c.order_no, purchases.c.generation, purchases.c.login, purchases.c.held_order_no)
    .where(
        purchases.c.state.in_(sorted(state.value for state in BEFORE_INTENT)),
        ~exists(
            select(attempts.c.id).where(attempts.c.purchase_id == purchases.c.id, attempts.c.submitted_at.is_not(None))
        ),
    )
    .order_by(purchases.c.stop_at)
)
_paid_at = select(orders.c.paid_at).where(orders.c.order_no == bindparam("o"))


def before_intent(tx: Transaction) -> list[Row[Any]]:
    """Purchases that could still submit, soonest first: each may have been paid in the time that was lost."""
    return tx.rows(_before_intent)


def mark_restored(tx: Transaction, at: datetime) -> None:
    """The database was restored, and what happened before `at` may be missing from it."""
    control.set_meta(tx, RESTORED_AT, at.isoformat())


def restored_at(tx: Transaction) -> datetime | None:
    """When the last restore was noted, None if never."""
    text = control.get_meta(tx, RESTORED_AT)
    return None if text is None else datetime.fromisoformat(text)


def may_be_lost(tx: Transaction, order_no: str) -> bool:
    """Whether a payment of ours for this order may have been submitted and forgotten by a restore: the user had paid
    before it. Such an order found paid at 12306 is `paid_elsewhere`, never `already_paid`."""
    restored = restored_at(tx)
    if restored is None:
        return False
    paid_at: datetime | None = tx.run(_paid_at, {"o": order_no}).scalar()
    return paid_at is not None and paid_at < restored
