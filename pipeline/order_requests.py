"""CONFIRM, NO_TICKET and refunds for a known order: decided from its facts, and done, in one transaction.

What is decided on facts that other transactions change is done by guarded writes, or after `orders.lock`; where the facts
had moved, they are read and decided again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pipeline import closings, endings
from pipeline.reasons import Reason
from pipeline.refunds import book_refunds
from pipeline.requests import ERR_WORDS, ErrCode, OrderFacts, RequestKind, Verdict, decide
from pipeline.states import BEFORE_INTENT, Closure, PurchaseState
from pipeline.store import history, inbox, orders, recovery, tickets
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from schemas.am_messages import AmMessage, Confirmed, NoTicket, RefundArrived, RefundClosed, RefundRequested
from schemas.codes import NO_TICKET_REASONS

GUARD_TRIES = 3  # facts read again when a guarded write found that they had moved: live, then submitted, then ended


class Answer(NamedTuple):
    """accepted | repeat | refused | waiting | done; a refusal carries its code."""

    result: str
    err_code: ErrCode | None = None
    words: str = ""
    generation: int | None = None


def about_known_order(tx: Transaction, message: AmMessage) -> Answer:
    """What any message but order.paid and need_pay does."""
    order = orders.load(tx, [message.order_no]).get(message.order_no)
    data = message.data
    if order is None or order.agent != data.agent:
        return Answer("refused", ErrCode.UNKNOWN_ORDER, ERR_WORDS[ErrCode.UNKNOWN_ORDER])
    if isinstance(data, RefundArrived):
        return _refund_arrived(tx, order, data)
    if isinstance(data, RefundClosed):
        return _refund_closed(tx, message.order_no, message.time, granted=data.granted)
    if isinstance(data, RefundRequested):
        return _refund_requested(tx, order, data.requested_at)
    kind = RequestKind.CONFIRM if isinstance(data, Confirmed) else RequestKind.NO_TICKET
    return request(tx, message.order_no, kind, _detail_of(data), actor="am")


def _detail_of(data: object) -> dict[str, Any]:
    if isinstance(data, Confirmed):
        return {"tickets": [ticket.model_dump(mode="json") for ticket in data.tickets], "account": data.account}
    if isinstance(data, NoTicket):
        return {"reason": data.reason, "words": NO_TICKET_REASONS[data.reason], "comment": data.comment}
    return {}


def request(tx: Transaction, order_no: str, kind: RequestKind, detail: dict[str, Any], *, actor: str) -> Answer:
    """CONFIRM, NO_TICKET or a refund request for a known order: decided and done, or refused."""
    for _ in range(GUARD_TRIES):
        order = orders.load(tx, [order_no])[order_no]
        decision = decide(kind, _facts(tx, order))
        if decision.verdict is Verdict.REFUSE:
            history.tell(tx, order_no, f"{kind}_refused", actor, err_code=decision.err_code)
            return Answer("refused", decision.err_code, decision.words)
        if decision.verdict is Verdict.REPEAT:
            return Answer("repeat", generation=order.generation or None)
        if _do(tx, order, kind, decision.verdict, detail, actor):
            return Answer("done", generation=order.generation or None)
    return Answer("refused", ErrCode.NOT_STORED, ERR_WORDS[ErrCode.NOT_STORED])


def _facts(tx: Transaction, order: Row[Any]) -> OrderFacts:
    """A purchase whose payment a restore may have forgotten counts as submitted until somebody was asked about it."""
    facts = orders.facts_of(order)
    if facts.latest not in BEFORE_INTENT or facts.intent:
        return facts
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    return facts._replace(intent=recovery.in_question(tx, order.order_no, purchase.accepted_at))


def _do(
    tx: Transaction, order: Row[Any], kind: RequestKind, verdict: Verdict, detail: dict[str, Any], actor: str
) -> bool:
    """Do what was decided. False: the facts moved meanwhile, and nothing was done."""
    if verdict is Verdict.STORE_TICKETS:
        tickets.keep(tx, order.order_no, detail.get("tickets"))
        history.tell(tx, order.order_no, "confirm_stored", actor)
        return True
    if verdict is Verdict.KEEP:
        return _keep(tx, order.order_no, kind, detail, actor)
    if not _withdraw(tx, order, own_act=kind is not RequestKind.REFUND_REQUESTED, actor=actor):
        return False
    if kind is RequestKind.CONFIRM:
        return closings.close_offline(tx, order, detail, actor=actor, cancel_callbacks=True)
    if kind is RequestKind.NO_TICKET:
        return closings.refund_in_full(tx, order, Closure.NO_TICKET, detail, actor=actor, cancel_callbacks=True)
    _refund_is_open(tx, order.order_no, detail)
    history.tell(tx, order.order_no, "refund_requested", actor)
    return True


def _keep(tx: Transaction, order_no: str, kind: RequestKind, detail: dict[str, Any], actor: str) -> bool:
    """Whoever ends the purchase writes the order row before it looks for what was kept, so either it finds this, or we
    find here that it has ended."""
    orders.lock(tx, order_no)
    order = orders.load(tx, [order_no])[order_no]
    if decide(kind, _facts(tx, order)).verdict is not Verdict.KEEP:
        return False
    if kind is RequestKind.CONFIRM:
        orders.update_order(tx, order_no, kept_confirm=detail)
    else:
        _refund_is_open(tx, order_no, detail)
    history.tell(tx, order_no, f"{kind}_kept", actor)
    # In question after a restore: it must not be paid any more, and ends as soon as somebody has asked about it.
    _withdraw(tx, order, own_act=kind is RequestKind.CONFIRM, actor=actor)
    return True


def _refund_is_open(tx: Transaction, order_no: str, detail: dict[str, Any]) -> None:
    orders.update_order(tx, order_no, refund_requested_at=detail["requested_at"], refund_closed_at=None)


def _withdraw(tx: Transaction, order: Row[Any], *, own_act: bool, actor: str) -> bool:
    """End a live purchase without intent as withdrawn. False: its intent came first, so the facts have moved."""
    if order.state is None or PurchaseState(order.state) not in BEFORE_INTENT:
        return True
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    return endings.end_before_intent(tx, purchase, Reason.WITHDRAWN, "", stage="intake", actor=actor, own_act=own_act)


def _refund_requested(tx: Transaction, order: Row[Any], requested_at: datetime) -> Answer:
    if order.refund_closed_at is not None and requested_at <= order.refund_closed_at:
        return Answer("repeat", generation=order.generation or None)  # its refund.closed has overtaken it
    return request(tx, order.order_no, RequestKind.REFUND_REQUESTED, {"requested_at": requested_at}, actor="am")


def _refund_closed(tx: Transaction, order_no: str, closed_at: datetime, *, granted: bool) -> Answer:
    orders.lock(tx, order_no)
    order = orders.load(tx, [order_no])[order_no]
    if not orders.facts_of(order).refund_requested:
        if order.closure is not None or (order.refund_closed_at is not None and closed_at <= order.refund_closed_at):
            return Answer("repeat", generation=order.generation or None)
        # It has overtaken its refund.requested: what that asks for is done first.
        request(tx, order_no, RequestKind.REFUND_REQUESTED, {"requested_at": closed_at}, actor="am")
        order = orders.load(tx, [order_no])[order_no]
    facts = _facts(tx, order)
    open_fate = facts.intent and facts.latest in (
        *BEFORE_INTENT,
        PurchaseState.IN_DOUBT,
        PurchaseState.PAID_ABNORMAL,
    )
    orders.update_order(tx, order_no, refund_closed_at=closed_at, kept_refund=granted and open_fate)
    history.tell(tx, order_no, "refund_closed", "am", granted=granted)
    # A purchased order keeps its frozen money for settlement; what 12306 gives back comes as refund.arrived.
    bought = facts.latest in (PurchaseState.PURCHASED, PurchaseState.SETTLED)
    if granted and not open_fate and not bought:
        closings.refund_in_full(tx, order, Closure.REFUNDED, {"granted": True}, actor="am")
    return Answer("done", generation=order.generation or None)


def _refund_arrived(tx: Transaction, order: Row[Any], data: RefundArrived) -> Answer:
    if not inbox.remember_refund(tx, order.order_no, data.refund_id, order.agent, data.amount_fen, now(tx)):
        return Answer("repeat", generation=order.generation or None)
    history.tell(
        tx, order.order_no, "railway_refund_arrived", "am", refund_id=data.refund_id, amount_fen=data.amount_fen
    )
    book_refunds(tx, [order.order_no])
    return Answer("done", generation=order.generation or None)
