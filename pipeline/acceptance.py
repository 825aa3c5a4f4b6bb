"""What a message from AM does, in the transaction it is answered from: one function for the queue and for HTTP.

CloudEvents `source` + `id` are stored for good: a known one never opens a generation (DESIGN section 4).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.errors import DaifuError
from pipeline.ledger import freeze
from pipeline.order_requests import Answer, about_known_order
from pipeline.reasons import Reason
from pipeline.refunds import book_refunds
from pipeline.requests import ERR_WORDS, Decision, ErrCode, RequestKind, Verdict, decide
from pipeline.store import accounts, callbacks, dead_letters, history, inbox, ledger, orders, recovery, results, work
from pipeline.store.clock import now
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Row, StoreUnavailable, Transaction
from pipeline.store.work import Step, work_key
from schemas.am_messages import AmMessage, NeedPay
from schemas.orders import OrderPaid


class Conflict(DaifuError):
    """The message contradicts what is stored: same id with other content, or an order that is already known differently."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class Moved(StoreUnavailable):
    """Facts moved under a decision, again and again. Nothing is stored; whoever drives the transaction does it again."""


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
        answer = Answer("done" if _order_paid(tx, data, limits, origin) else "repeat")
    elif isinstance(data, NeedPay):
        return _need_pay(tx, message, data, digest, limits, origin)
    else:
        answer = about_known_order(tx, message)
    _not_for_good(answer)
    inbox.remember(tx, message, digest, answer.result, answer.generation)
    if answer.result == "refused" and answer.err_code is not None:
        results.emit_refusal(tx, message.order_no, data.agent, message.id, answer.err_code, answer.words, now(tx))
    return answer


def content_digest(message: AmMessage) -> str:
    """SHA-256 of the content without the envelope. A sealed password differs at every sealing, so it is left out; so is what
    has its default: a field that a later version adds must not make a known message another one."""
    data = message.data
    text = data.model_dump_json(exclude={"password_sealed"}, exclude_defaults=True)
    return hashlib.sha256(f"{message.type}\n{text}".encode()).hexdigest()


def _order_paid(tx: Transaction, data: OrderPaid, limits: Limits, origin: str) -> bool:
    """Register the order and take up the requests that waited for it. False: it is known."""
    if not register_order(tx, data):
        return False
    work.remove(tx, [work_key(data.order_no, 0, Step.ORDER_WAIT)])
    for waiting in inbox.take_waiting(tx, data.order_no):
        request = NeedPay.model_validate_json(waiting.payload["data"])
        decision = _decide_need_pay(tx, request, waiting.payload["time_us"], limits, origin)
        _settle_waiting(tx, waiting, request.agent, decision)
    return True


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
    inbox.meet_order(tx, data.order_no)  # whoever waits for it is visible afterwards
    if not orders.insert_orders(tx, [row]):
        stored = orders.load(tx, [data.order_no])[data.order_no].details
        differing = sorted(name for name in details if name in stored and _differs(details[name], stored[name]))
        if differing:
            raise Conflict(f"data.{differing[0]}", "differs from the order.paid that is stored for this order")
        return False
    if data.fare_fen > 0:
        ledger.apply(tx, [freeze(data.agent, data.order_no, data.fare_fen)])
    history.tell(tx, data.order_no, "order_paid", "am", fare_fen=data.fare_fen, agent=data.agent)
    return True


def _differs(told: Any, stored: Any) -> bool:
    """Whether two JSON values differ in what both know: a version that knows more fields, or fewer, says nothing else."""
    if isinstance(told, dict) and isinstance(stored, dict):
        return any(_differs(told[name], stored[name]) for name in told.keys() & stored.keys())
    if isinstance(told, list) and isinstance(stored, list):
        return len(told) != len(stored) or any(_differs(*pair) for pair in zip(told, stored, strict=True))
    return bool(told != stored)


def _need_pay(tx: Transaction, message: AmMessage, data: NeedPay, digest: str, limits: Limits, origin: str) -> Answer:
    if data.order is not None:
        _order_paid(tx, data.order, limits, origin)
    if not orders.load(tx, [message.order_no]):
        inbox.meet_order(tx, message.order_no)  # its order.paid may be committing right now
        if not orders.load(tx, [message.order_no]):
            return _wait_for_order(tx, message, data, digest, limits)
    answer = _decide_need_pay(tx, data, int(message.time.timestamp() * 1_000_000), limits, origin)
    _not_for_good(answer)
    inbox.remember(tx, message, digest, answer.result, answer.generation)
    if answer.err_code is not None:
        results.emit_refusal(tx, message.order_no, data.agent, message.id, answer.err_code, answer.words, now(tx))
    return answer


def _not_for_good(answer: Answer) -> None:
    """999 says "send again": from the queue nobody would, so the transaction is undone and the message stays. Raises Moved."""
    if answer.err_code is ErrCode.NOT_STORED:
        raise Moved("the order moved while it was decided; the same message is decided anew")


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
    for waiting in inbox.take_waiting(tx, order_no):
        request = NeedPay.model_validate_json(waiting.payload["data"])
        words = ERR_WORDS[ErrCode.UNKNOWN_ORDER]
        _settle_waiting(tx, waiting, request.agent, Answer("refused", ErrCode.UNKNOWN_ORDER, words))
        kept = request.model_copy(update={"password_sealed": None}).model_dump_json(exclude_none=True)
        inbox.keep_in_vain(tx, waiting.source, waiting.id, {"data": kept})
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
        history.tell(tx, data.order_no, "need_pay_refused", "am", err_code=ErrCode.BAD_PARAMETER)
        return Answer("refused", ErrCode.BAD_PARAMETER, "tickets: name more than one held order")
    hold = holds[0] if holds else None
    orders.lock(tx, data.order_no)
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
    if purchase_id is None:
        return Answer("refused", ErrCode.NOT_STORED, ERR_WORDS[ErrCode.NOT_STORED])
    return Answer("accepted", generation=order.generation + 1)


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
    content_digest: str | None = None,
) -> str | None:
    """Open the order's next generation and make its credential lookup due. None: the order moved meanwhile.

    `content_digest` tells an HTTP request that is sent again from a new one.
    """
    moment = now(tx)
    asked = min(moment, datetime.fromtimestamp(asked_us / 1_000_000, moment.tzinfo))
    values = {
        "agent": order.agent,
        "login": login,
        "password_sealed": password_sealed,
        "held_order_no": hold,
        "stated_fen": stated_fen,
        "origin": origin,
        "content_digest": content_digest,
        "requested_at": asked,
        # Agents take the order back after 25 minutes (wire-protocols A.5); SUBMIT_WITHIN_S stays below.
        "stop_at": asked + timedelta(seconds=limits.submit_within_s),
    }
    purchase_id = orders.open_generation(tx, order.order_no, order.generation, values)
    if purchase_id is None:
        return None
    generation = order.generation + 1
    if recovery.is_under_way(tx) and recovery.in_question(tx, order.order_no, moment):
        recovery.ask(tx, purchase_id, order.order_no, hold)  # it may have been accepted, and paid, before the restore
    callbacks.cancel_pending(tx, order.order_no)
    dead_letters.supersede(tx, order.order_no, generation)
    work.add(tx, order.order_no, generation, Step.CREDENTIALS, urgency=values["stop_at"])
    results.emit(tx, order.order_no, generation, "purchase.accepted")
    history.tell(
        tx, order.order_no, "accepted", actor, generation=generation, account=login, held_order_no=hold, origin=origin
    )
    return purchase_id


__all__ = [
    "Answer",
    "Conflict",
    "Limits",
    "accept",
    "book_refunds",
    "content_digest",
    "give_up_waiting",
    "open_purchase",
    "register_order",
]
