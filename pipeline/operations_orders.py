"""What people do with an order whose purchase did not pay it: fill in the tickets they bought (回填), or import it again.

Both are what an agent's program can ask for too, done by the same functions: CONFIRM, and NEED_PAY with the stored password.
Nothing of the kind is there for 支付完成,出票异常: that only a person can close (operations_abnormal).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import operations_import, order_requests
from pipeline.operations_errors import NotFound, Refused, person
from pipeline.operations_import import Rules
from pipeline.reasons import OUTCOME_WORDS, Outcome, Reason
from pipeline.requests import ERR_WORDS, ErrCode, RequestKind
from pipeline.states import LIVE, ORDER_STATE_WORDS, STATE_WORDS, OrderState, PurchaseState
from pipeline.store import callbacks, history, orders
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import shown
from schemas.orders import Ticket

_FILLED_IN = (None, PurchaseState.HELD_UNPAID, PurchaseState.NEVER_DEBITED)


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be done with an order now. `why`: why it may not be imported again. `told_at`: when the agent was told
    payStatus 2, so that it may have acted on it; an operator then records that the agent agreed."""

    fill_in: bool
    import_again: bool
    why: str = ""
    told_at: datetime | None = None


def offer(tx: Transaction, order_no: str, rules: Rules) -> Offer:
    """Changes nothing. Raises NotFound."""
    order = _load(tx, order_no, None)
    try:
        _guard_fill_in(order)
        fill_in = True
    except Refused:
        fill_in = False
    try:
        purchase = _guard_import(tx, order, rules)
    except Refused as refused:
        return Offer(fill_in, import_again=False, why=refused.words)
    return Offer(fill_in, import_again=True, told_at=_told_at(tx, purchase))


def fill_in(
    tx: Transaction, order_no: str, tickets: Sequence[Ticket], actor: str, *, of_agent: str | None = None
) -> None:
    """回填: the order was paid on 12306 by its agent, who has these tickets, one for each passenger.

    `of_agent`: the only agent whose orders the actor may touch. Raises NotFound, Refused.
    """
    person(actor)
    orders.lock(tx, order_no)
    order = _load(tx, order_no, of_agent)
    _guard_fill_in(order)
    people = len(json.loads(orders.details_of(tx, [order_no])[order_no]).get("passengers") or ())
    if len(tickets) != people:
        raise Refused("tickets_missing", f"订单有 {people} 位乘车人, 填写了 {len(tickets)} 张票: 每人一张")
    detail = {"tickets": [ticket.model_dump(mode="json") for ticket in tickets], "account": order.login}
    answer = order_requests.request(tx, order_no, RequestKind.CONFIRM, detail, actor=actor)
    if answer.err_code is not None:
        raise Refused(answer.err_code, answer.words)
    numbers = sorted({ticket.ticket_no for ticket in tickets})
    paid_fen = sum(ticket.price_fen for ticket in tickets)
    history.audit(tx, actor, "orders.fill_in", order_no, ticket_numbers=" ".join(numbers), amount_fen=paid_fen)


def import_again(
    tx: Transaction, order_no: str, actor: str, rules: Rules, *, agreed: str | None = None, of_agent: str | None = None
) -> int:
    """Ask to pay once more for the held order, with the account's stored password; the new generation.

    Where the agent was told that the purchase failed, somebody else than the agent needs its agreement: who `agreed`, and when.
    Raises NotFound, Refused.
    """
    person(actor)
    orders.lock(tx, order_no)
    order = _load(tx, order_no, of_agent)
    told_at = _told_at(tx, _guard_import(tx, order, rules))
    if told_at is not None and of_agent is None and not agreed:
        words = f"已于 {shown(told_at)} 通知代理商“{OUTCOME_WORDS[Outcome.HELD_UNPAID]}”: 需先取得代理商的同意"
        raise Refused("agreement_missing", words)
    operations_import.import_again(tx, order, actor, rules)
    facts: dict[str, Any] = {"generation": order.generation + 1, "told_at": shown(told_at), "agreed": agreed}
    history.tell(tx, order_no, "imported_again", actor, **facts)
    history.audit(tx, actor, "orders.import_again", order_no, **facts)
    return int(order.generation) + 1


def _load(tx: Transaction, order_no: str, of_agent: str | None) -> Row[Any]:
    order = orders.load(tx, [order_no]).get(order_no)
    if order is None or of_agent not in (None, order.agent):
        raise NotFound(f"没有订单 {order_no}: 用 `daifu orders list` 查看")
    return order


def _guard_fill_in(order: Row[Any]) -> None:
    if order.joint_trip:
        raise Refused(ErrCode.JOINT_TRIP, ERR_WORDS[ErrCode.JOINT_TRIP])
    if order.closure is not None:
        raise Refused("closed", f"订单已关闭: {ORDER_STATE_WORDS[OrderState(order.closure)]}")
    if order.state == PurchaseState.PAID_ABNORMAL:
        raise Refused(ErrCode.PAID_ABNORMAL, ERR_WORDS[ErrCode.PAID_ABNORMAL])
    if order.state in LIVE:
        raise Refused("live", "代付正在进行: 等有结果后再回填")
    if order.state not in _FILLED_IN:
        raise Refused(order.state, f"代付已是“{STATE_WORDS[PurchaseState(order.state)]}”, 不需要回填")


def _guard_import(tx: Transaction, order: Row[Any], rules: Rules) -> Row[Any]:
    """The purchase that failed. Raises Refused."""
    if order.purchase_id is None:
        raise Refused("no_purchase", "还没有代付请求, 没有可以重新导入的")
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    if purchase.state != PurchaseState.HELD_UNPAID:
        operations_import.guard_need_pay(order, purchase.held_order_no)
    operations_import.guard_again(tx, order, purchase, Reason(purchase.reason), rules)
    return purchase


def _told_at(tx: Transaction, purchase: Row[Any]) -> datetime | None:
    told = callbacks.last_delivered(tx, purchase.order_no, purchase.generation)
    moment: datetime | None = None if told is None else told.delivered_at
    return moment
