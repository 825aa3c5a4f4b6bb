"""What a message from AM does, in the transaction it is answered from: one function for the queue and for HTTP.

CloudEvents `source` + `id` are stored for good: a known one never opens a generation (DESIGN section 4).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from pipeline import endings
from pipeline.errors import DaifuError
from pipeline.ledger import freeze, railway_refund
from pipeline.reasons import Reason
from pipeline.requests import ERR_WORDS, Decision, ErrCode, RequestKind, Verdict, decide
from pipeline.states import BEFORE_INTENT, Closure, PurchaseState
from pipeline.store import accounts, callbacks, dead_letters, history, inbox, ledger, orders, results, tasks, work
from pipeline.store.clock import now
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Transaction
from pipeline.store.work import Step, work_key
from schemas.am_messages import (
    AmMessage,
    Confirmed,
    NeedPay,
    NoTicket,
    RefundArrived,
    RefundClosed,
    RefundRequested,
)
from schemas.codes import NO_TICKET_REASONS
from schemas.orders import OrderPaid

GUARD_TRIES = 3  # facts read again when a guarded write found that they had moved


class Conflict(DaifuError):
    """The message contradicts what is stored: same id with other content, or an order that is already known differently."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True, slots=True)
class Answer:
    """accepted | repeat | refused | waiting | done; a refusal carries its code."""

    result: str
    err_code: ErrCode | None = None
    words: str = ""
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    submit_within_s: float
    order_wait_s: float


def accept(tx: Transaction, message: AmMessage, limits: Limits, *, origin: str) -> Answer:
    """Do what the message asks. Raises Conflict for content that can't be true; then nothing of it may be kept."""
    digest = content_digest(message)
    known = inbox.seen(tx, message.source, message.id)
    if known is not None:
        if known.digest != digest:
            raise Conflict("id", "this source and id were used before with other content")
        return Answer("repeat", generation=known.generation)
    data = message.data
    if not accounts.load_agents(tx, [data.agent]):
        if isinstance(data, NeedPay):
            return _refused(
                tx, message, digest, Decision(Verdict.REFUSE, ErrCode.UNKNOWN_AGENT, ERR_WORDS[ErrCode.UNKNOWN_AGENT])
            )
        raise Conflict("data.agent", "no such agent; add it with `daifu agents add`")
    if isinstance(data, OrderPaid):
        answer = _order_paid(tx, data, limits, origin)
    elif isinstance(data, NeedPay):
        return _need_pay(tx, message, data, digest, limits, origin)
    else:
        answer = _about_known_order(tx, message)
    inbox.remember(tx, message, digest, answer.result, answer.generation)
    if answer.result == "refused" and answer.err_code is not None:
        results.emit_refusal(tx, message.order_no, data.agent, message.id, answer.err_code, answer.words, now(tx))
    return answer


def content_digest(message: AmMessage) -> str:
    """SHA-256 of the content without the envelope. A sealed password differs at every sealing, so it is left out."""
    data = message.data
    text = data.model_dump_json(exclude={"password_sealed"})
    return hashlib.sha256(f"{message.type}\n{text}".encode()).hexdigest()


def _order_paid(tx: Transaction, data: OrderPaid, limits: Limits, origin: str) -> Answer:
    if not register_order(tx, data):
        return Answer("repeat")
    for waiting in inbox.waiting_for(tx, data.order_no):
        work.remove(tx, [work_key(data.order_no, 0, Step.ORDER_WAIT)])
        request = NeedPay.model_validate_json(waiting.payload["data"])
        decision = _decide_need_pay(tx, request, waiting.payload["time_us"], limits, origin)
        _settle_waiting(tx, waiting, request.agent, decision)
    return Answer("done")


def _settle_waiting(tx: Transaction, waiting: Row[Any], agent: str, answer: Answer) -> None:
    inbox.answer_waiting(tx, waiting.source, waiting.id, answer.result, answer.generation)
    if answer.err_code is not None:
        results.emit_refusal(tx, waiting.order_no, agent, waiting.id, answer.err_code, answer.words, now(tx))


def register_order(tx: Transaction, data: OrderPaid) -> bool:
    """Store a paid order and freeze its fare. False: it is known with the same content. Raises Conflict otherwise."""
    details = data.model_dump(mode="json")
    moment = now(tx)
    row = {
        "order_no": data.order_no,
        "agent": data.agent,
        "joint_trip": data.trip == "joint",
        "details": details,
        "fare_fen": data.fare_fen,
        "frozen_fen": data.fare_fen,
        "departure_at": data.departure_at,
        "paid_at": data.paid_at,
        "created_at": moment,
        "updated_at": moment,
    }
    if not orders.insert_orders(tx, [row]):
        stored = orders.load(tx, [data.order_no])[data.order_no].details
        differing = sorted(name for name in details if details[name] != stored.get(name))
        if differing:
            raise Conflict(f"data.{differing[0]}", "differs from the order.paid that is stored for this order")
        return False
    if data.fare_fen > 0:
        ledger.apply(tx, [freeze(data.agent, data.order_no, data.fare_fen)])
    history.tell(tx, data.order_no, "order_paid", "am", fare_fen=data.fare_fen, agent=data.agent)
    return True


def _need_pay(tx: Transaction, message: AmMessage, data: NeedPay, digest: str, limits: Limits, origin: str) -> Answer:
    if data.order is not None:
        register_order(tx, data.order)
    if not orders.load(tx, [message.order_no]):
        return _wait_for_order(tx, message, data, digest, limits)
    answer = _decide_need_pay(tx, data, int(message.time.timestamp() * 1_000_000), limits, origin)
    inbox.remember(tx, message, digest, answer.result, answer.generation)
    if answer.err_code is not None:
        results.emit_refusal(tx, message.order_no, data.agent, message.id, answer.err_code, answer.words, now(tx))
    return answer


def _wait_for_order(tx: Transaction, message: AmMessage, data: NeedPay, digest: str, limits: Limits) -> Answer:
    payload = {"data": data.model_dump_json(exclude_none=True), "time_us": int(message.time.timestamp() * 1_000_000)}
    inbox.remember(tx, message, digest, "waiting", None, payload)
    moment = now(tx)
    until = moment + timedelta(seconds=limits.order_wait_s)
    if work.find(tx, [work_key(message.order_no, 0, Step.ORDER_WAIT)]) == []:
        work.add(tx, message.order_no, 0, Step.ORDER_WAIT, urgency=until, due_at=until)
    history.tell(tx, message.order_no, "need_pay_waits_for_order", "am", until=until.isoformat())
    return Answer("waiting")


def give_up_waiting(tx: Transaction, order_no: str) -> None:
    """ORDER_WAIT_S is over and no order.paid came: the waiting requests are refused."""
    for waiting in inbox.waiting_for(tx, order_no):
        request = NeedPay.model_validate_json(waiting.payload["data"])
        words = ERR_WORDS[ErrCode.UNKNOWN_ORDER]
        _settle_waiting(tx, waiting, request.agent, Answer("refused", ErrCode.UNKNOWN_ORDER, words))
        facts = DeadLetterFacts(
            "intake",
            order_no,
            0,
            request.agent,
            Reason.ORDER_UNKNOWN,
            "订单支付消息在等待时限内没有到达",
            1,
            request.price_fen,
            None,
        )
        dead_letters.add(tx, facts)
        history.tell(tx, order_no, "need_pay_refused", "system:intake", err_code=ErrCode.UNKNOWN_ORDER)


def _refused(tx: Transaction, message: AmMessage, digest: str, decision: Decision) -> Answer:
    code = decision.err_code or ErrCode.NOT_IN_THIS_STATE
    inbox.remember(tx, message, digest, "refused", None)
    results.emit_refusal(tx, message.order_no, message.data.agent, message.id, code, decision.words, now(tx))
    return Answer("refused", code, decision.words)


def _decide_need_pay(tx: Transaction, data: NeedPay, asked_us: int, limits: Limits, origin: str) -> Answer:
    holds = data.hold_numbers
    if len(holds) > 1:
        return Answer("refused", ErrCode.BAD_PARAMETER, "tickets: name more than one held order")
    hold = holds[0] if holds else None
    for _ in range(GUARD_TRIES):
        order = orders.load(tx, [data.order_no])[data.order_no]
        if order.agent != data.agent:
            return Answer("refused", ErrCode.UNKNOWN_ORDER, ERR_WORDS[ErrCode.UNKNOWN_ORDER])
        decision = decide(RequestKind.NEED_PAY, orders.facts_of(order), hold)
        if decision.verdict is Verdict.REPEAT:
            history.tell(tx, data.order_no, "need_pay_repeated", "am", generation=order.generation)
            return Answer("repeat", generation=order.generation)
        if decision.verdict is Verdict.REFUSE:
            history.tell(tx, data.order_no, "need_pay_refused", "am", err_code=decision.err_code)
            return Answer("refused", decision.err_code, decision.words)
        purchase_id = open_purchase(
            tx, order, data.account, hold, data.price_fen, data.password_sealed, asked_us, limits, origin
        )
        if purchase_id is not None:
            return Answer("accepted", generation=order.generation + 1)
    return Answer("refused", ErrCode.NOT_STORED, ERR_WORDS[ErrCode.NOT_STORED])


def open_purchase(
    tx: Transaction,
    order: Row[Any],
    login: str,
    hold: str | None,
    stated_fen: int | None,
    password_sealed: str | None,
    asked_us: int,
    limits: Limits,
    origin: str,
    actor: str = "am",
) -> str | None:
    """Open the order's next generation and make its credential lookup due. None: the order moved meanwhile."""
    moment = now(tx)
    asked = min(moment, datetime.fromtimestamp(asked_us / 1_000_000, moment.tzinfo))
    values = {
        "agent": order.agent,
        "login": login,
        "password_sealed": password_sealed,
        "held_order_no": hold,
        "stated_fen": stated_fen,
        "origin": origin,
        "requested_at": asked,
        # Agents take the order back after 25 minutes (wire-protocols A.5); SUBMIT_WITHIN_S stays below.
        "stop_at": asked + timedelta(seconds=limits.submit_within_s),
    }
    purchase_id = orders.open_generation(tx, order.order_no, order.generation, values)
    if purchase_id is None:
        return None
    generation = order.generation + 1
    callbacks.cancel_pending(tx, order.order_no)
    dead_letters.supersede(tx, order.order_no, generation)
    work.add(tx, order.order_no, generation, Step.CREDENTIALS, urgency=values["stop_at"])
    results.emit(tx, order.order_no, generation, "purchase.accepted")
    history.tell(
        tx, order.order_no, "accepted", actor, generation=generation, account=login, held_order_no=hold, origin=origin
    )
    return purchase_id


def _about_known_order(tx: Transaction, message: AmMessage) -> Answer:
    order = orders.load(tx, [message.order_no]).get(message.order_no)
    data = message.data
    if order is None or order.agent != data.agent:
        return Answer("refused", ErrCode.UNKNOWN_ORDER, ERR_WORDS[ErrCode.UNKNOWN_ORDER])
    if isinstance(data, RefundArrived):
        return _refund_arrived(tx, order, data)
    if isinstance(data, RefundClosed):
        return _refund_closed(tx, order, data)
    kinds = {
        Confirmed: RequestKind.CONFIRM,
        NoTicket: RequestKind.NO_TICKET,
        RefundRequested: RequestKind.REFUND_REQUESTED,
    }
    return request(tx, message.order_no, kinds[type(data)], _detail_of(data), actor="am")


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
        decision = decide(kind, orders.facts_of(order))
        if decision.verdict is Verdict.REFUSE:
            history.tell(tx, order_no, f"{kind}_refused", actor, err_code=decision.err_code)
            return Answer("refused", decision.err_code, decision.words)
        if decision.verdict is Verdict.REPEAT:
            return Answer("repeat", generation=order.generation)
        if _do(tx, order, kind, decision.verdict, detail, actor):
            return Answer("done", generation=order.generation or None)
    return Answer("refused", ErrCode.NOT_STORED, ERR_WORDS[ErrCode.NOT_STORED])


def _do(
    tx: Transaction, order: Row[Any], kind: RequestKind, verdict: Verdict, detail: dict[str, Any], actor: str
) -> bool:
    if verdict is Verdict.STORE_TICKETS:
        orders.update_order(tx, order.order_no, tickets=detail.get("tickets"))
        history.tell(tx, order.order_no, "confirm_stored", actor)
        return True
    if verdict is Verdict.KEEP:
        kept: dict[str, Any] = (
            {"kept_confirm": detail}
            if kind is RequestKind.CONFIRM
            else {"refund_requested_at": now(tx), "refund_closed_at": None}
        )
        orders.update_order(tx, order.order_no, **kept)
        history.tell(tx, order.order_no, f"{kind}_kept", actor)
        return True
    if not _withdraw(tx, order, own_act=kind is not RequestKind.REFUND_REQUESTED, actor=actor):
        return False
    if kind is RequestKind.CONFIRM:
        return endings.close_offline(tx, order, detail, actor=actor)
    if kind is RequestKind.NO_TICKET:
        return endings.refund_in_full(tx, order, Closure.NO_TICKET, detail, actor=actor, cancel_callbacks=True)
    orders.update_order(tx, order.order_no, refund_requested_at=now(tx), refund_closed_at=None)
    history.tell(tx, order.order_no, "refund_requested", actor)
    return True


def _withdraw(tx: Transaction, order: Row[Any], *, own_act: bool, actor: str) -> bool:
    """End a live purchase without intent as withdrawn. False: its intent came first, so the facts have moved."""
    if order.state is None or PurchaseState(order.state) not in BEFORE_INTENT:
        return True
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    return endings.end_before_intent(tx, purchase, Reason.WITHDRAWN, "", stage="intake", actor=actor, own_act=own_act)


def _refund_closed(tx: Transaction, order: Row[Any], data: RefundClosed) -> Answer:
    if order.refund_requested_at is None or order.refund_closed_at is not None:
        return Answer("repeat", generation=order.generation or None)
    facts = orders.facts_of(order)
    open_fate = facts.intent and facts.latest in (
        PurchaseState.PAYING,
        PurchaseState.IN_DOUBT,
        PurchaseState.PAID_ABNORMAL,
    )
    orders.update_order(tx, order.order_no, refund_closed_at=now(tx), kept_refund=data.granted and open_fate)
    history.tell(tx, order.order_no, "refund_closed", "am", granted=data.granted)
    if data.granted and not open_fate and order.frozen_fen > 0 and order.closure is None:
        if facts.latest in (PurchaseState.PURCHASED, PurchaseState.SETTLED):
            return Answer("done", generation=order.generation or None)  # settlement has or will have the frozen money
        endings.refund_in_full(tx, order, Closure.REFUNDED, {"granted": True}, actor="am")
    return Answer("done", generation=order.generation or None)


def _refund_arrived(tx: Transaction, order: Row[Any], data: RefundArrived) -> Answer:
    if not inbox.remember_refund(tx, order.order_no, data.refund_id, order.agent, data.amount_fen, now(tx)):
        return Answer("repeat", generation=order.generation or None)
    history.tell(
        tx, order.order_no, "railway_refund_arrived", "am", refund_id=data.refund_id, amount_fen=data.amount_fen
    )
    book_refunds(tx, order.order_no)
    return Answer("done", generation=order.generation or None)


def book_refunds(tx: Transaction, order_no: str) -> None:
    """Book 12306 refunds that arrived, up to what was posted to 12306; one that comes before the post is kept until then."""
    posted = inbox.posted_fen(tx, order_no)
    for row in inbox.unbooked_refunds(tx, order_no):
        if row.amount_fen > posted:
            if posted:
                reason = f"12306退款 {row.amount_fen} 分, 超过可冲抵的 {posted} 分"
                tasks.open_task(tx, "railway_refund", order_no, f"{order_no}:refund:{row.refund_id}", reason)
            continue
        ledger.apply(tx, [railway_refund(row.agent, order_no, row.refund_id, row.amount_fen)])
        inbox.mark_booked(tx, order_no, row.refund_id)
        posted -= row.amount_fen
