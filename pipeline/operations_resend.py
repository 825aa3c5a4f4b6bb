"""Telling again: results to AM, the latest outcome to an agent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.operations_agents import load_agent
from pipeline.operations_errors import NotFound, Refused, person
from pipeline.states import LIVE, PurchaseState
from pipeline.store import callbacks, dead_letters, history, orders, results, work
from pipeline.store.engine import Row, Transaction
from pipeline.store.work import Step


def resend_events(tx: Transaction, actor: str, *, since: datetime | None = None, order_no: str | None = None) -> int:
    """AM gets results again, as they were: of one order, or all since a moment. Returns how many."""
    if (since is None) == (order_no is None):
        raise ValueError("give either since or order_no")
    count = results.resend(tx, since=since, order_no=order_no)
    subject = order_no or ("" if since is None else since.isoformat())
    history.audit(tx, person(actor), "events.resend", subject, results=count)
    return count


def guard_latest(tx: Transaction, order: Row[Any]) -> None:
    """Only the outcome of the order's latest purchase is ever sent again, once it has one (DESIGN section 10). A row that is
    to tell the agent later what is not known yet must not come forward either. Raises Refused."""
    if order.state is not None and PurchaseState(order.state) in LIVE:
        raise Refused("live", f"订单 {order.order_no} 的代付正在进行, 结束后自动通知")
    told = callbacks.of_orders(tx, [order.order_no])
    if told and told[-1].generation != order.generation:
        raise Refused("imported_again", f"订单已重新导入 (第 {order.generation} 次), 之前的结果不再通知")


def untold(tx: Transaction, agent: str) -> list[str]:
    """Orders whose latest outcome this agent has not taken yet, oldest first: for `resend_callback`. Raises NotFound."""
    load_agent(tx, agent)
    return callbacks.undelivered(tx, agent)


def resend_callback(tx: Transaction, order_no: str, actor: str) -> str:
    """Tell the agent the order's latest outcome again, with the stored bytes. Returns its payStatus.

    Raises NotFound, Refused where there is nothing to tell.
    """
    person(actor)
    orders.lock(tx, order_no)  # a request that opens the next generation waits for this, or is seen
    order = orders.load(tx, [order_no]).get(order_no)
    if order is None:
        raise NotFound(f"没有订单 {order_no}")
    told = callbacks.of_orders(tx, [order_no])
    if not told or told[-1].state == "cancelled":
        raise Refused("nothing_to_tell", f"订单 {order_no} 没有要通知的结果")
    guard_latest(tx, order)
    latest = told[-1]
    callbacks.revive(tx, latest.id)
    work.bring_forward(tx, order_no, Step.TELL)
    for letter in dead_letters.open_of(tx, order_no):
        if letter.stage == "notification" and dead_letters.move(tx, letter.id, "open", "replayed"):
            dead_letters.count_replay(tx, letter.id)
    history.tell(tx, order_no, "callback_resent", actor, pay_status=latest.pay_status)
    history.audit(tx, actor, "callbacks.resend", order_no, pay_status=latest.pay_status)
    return str(latest.pay_status)
