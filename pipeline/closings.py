"""How an order is closed without a purchase of ours: ticketed offline, or its money back to the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.ledger import full_refund
from pipeline.states import Closure
from pipeline.store import callbacks, history, ledger, orders, tickets, work
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.work import Step


def apply_kept(tx: Transaction, order_nos: Sequence[str], *, actor: str) -> None:
    """Purchases ended unpaid: a CONFIRM or a granted refund that was kept meanwhile happens now (DESIGN section 5)."""
    for order in orders.load(tx, order_nos).values():
        if order.closure is not None:
            continue
        if order.kept_confirm is not None:
            close_offline(tx, order, order.kept_confirm, actor=actor)
        elif order.kept_refund:
            refund_in_full(tx, order, Closure.REFUNDED, {"granted": True}, actor=actor)


def close_offline(
    tx: Transaction, order: Row[Any], detail: dict[str, Any], *, actor: str, cancel_callbacks: bool = False
) -> bool:
    """Ticketed offline: closed, unfrozen after departure (现有模式)."""
    if not orders.close(tx, order.order_no, order.generation, Closure.TICKETED_OFFLINE, detail):
        return False
    tickets.keep(tx, order.order_no, detail.get("tickets"))
    work.add(tx, order.order_no, 0, Step.DEPARTURE, urgency=order.departure_at, due_at=max(order.departure_at, now(tx)))
    if cancel_callbacks:
        callbacks.cancel_pending(tx, order.order_no)
    history.tell(tx, order.order_no, "ticketed_offline", actor, tickets=len(detail.get("tickets") or ()))
    return True


def refund_in_full(
    tx: Transaction,
    order: Row[Any],
    how: Closure,
    detail: dict[str, Any],
    *,
    actor: str,
    cancel_callbacks: bool = False,
) -> bool:
    """Closed without a ticket: what is still frozen goes back to the user."""
    if not orders.close(tx, order.order_no, order.generation, how, detail):
        return False
    if order.frozen_fen > 0 and orders.thaw(tx, order.order_no):
        # Late, as its freezing was, which may be of this very transaction.
        ledger.apply_late(tx, [full_refund(order.agent, order.order_no, order.frozen_fen)])
    if cancel_callbacks:
        callbacks.cancel_pending(tx, order.order_no)
    history.tell(tx, order.order_no, how.value, actor, refunded_fen=order.frozen_fen)
    return True
