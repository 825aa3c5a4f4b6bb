"""What messages from AM do, in the transaction they are answered from: one function for the queue and for HTTP.

CloudEvents `source` + `id` are stored for good: a known one never opens a generation (DESIGN section 4). Many messages are
accepted in rounds: in one round each order and each id comes once, and everything is done by sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta

from pipeline.need_pay import Limits, Opening, Request, decide_all, open_all, open_purchase, opening_with_the_order
from pipeline.order_requests import Answer, about_known_order
from pipeline.paid_orders import Conflict, give_up_waiting, register
from pipeline.requests import ERR_WORDS, ErrCode
from pipeline.store import accounts, history, inbox, orders, results, work
from pipeline.store.clock import now
from pipeline.store.engine import StoreUnavailable, Transaction
from pipeline.store.history import Line
from pipeline.store.inbox import Heard
from pipeline.store.results import Refused
from pipeline.store.sets import rounds
from pipeline.store.work import NewRow, Step, work_key
from schemas.am_messages import AmMessage, NeedPay
from schemas.orders import OrderPaid


class Moved(StoreUnavailable):
    """Facts moved under a decision, again and again. Nothing is stored; whoever drives the transaction does it again."""


@dataclass(slots=True)
class _Asked:
    """A message, and how it is answered once that is known."""

    message: AmMessage
    digest: str
    answer: Answer | Conflict | None = None
    waits: bool = False


def accept_all(
    tx: Transaction, messages: Sequence[AmMessage], limits: Limits, *, origin: str
) -> list[Answer | Conflict]:
    """Do what the messages ask, in their order where it matters. A Conflict is content that can't be true: nothing of that
    message is kept."""
    asked = [_Asked(message, content_digest(message)) for message in messages]
    for together in rounds(asked, _order_no, _identity):
        _accept(tx, together, limits, origin)
    return [each.answer for each in asked if each.answer is not None]


def accept(tx: Transaction, message: AmMessage, limits: Limits, *, origin: str) -> Answer:
    """The same for one message. Raises Conflict."""
    (answer,) = accept_all(tx, [message], limits, origin=origin)
    if isinstance(answer, Conflict):
        raise answer
    return answer


def _order_no(asked: _Asked) -> str:
    return asked.message.order_no


def _identity(asked: _Asked) -> tuple[str, str]:
    return asked.message.source, asked.message.id


def content_digest(message: AmMessage) -> str:
    """SHA-256 of the content without the envelope. A sealed password differs at every sealing, so it is left out; so is what
    has its default: a field that a later version adds must not make a known message another one."""
    data = message.data
    text = data.model_dump_json(exclude={"password_sealed"}, exclude_defaults=True)
    return hashlib.sha256(f"{message.type}\n{text}".encode()).hexdigest()


def _accept(tx: Transaction, asked: Sequence[_Asked], limits: Limits, origin: str) -> None:
    """One round: each order and each id once."""
    fresh = _not_seen(tx, asked)
    known = accounts.known_agents(tx, {each.message.data.agent for each in fresh})
    for each in fresh:
        if each.message.data.agent not in known:
            each.answer = _of_unknown_agent(each.message)
    own = _orders_paid(tx, _open(fresh), limits, origin)
    _need_pays(tx, [each for each in _open(fresh) if isinstance(each.message.data, NeedPay)], limits, origin, own)
    for each in _open(fresh):
        each.answer = about_known_order(tx, each.message)
    _remember(tx, fresh)


def _open(asked: Sequence[_Asked]) -> list[_Asked]:
    return [each for each in asked if each.answer is None]


def _not_seen(tx: Transaction, asked: Sequence[_Asked]) -> list[_Asked]:
    """Messages whose source and id are new. A known one is a repeat, or contradicts what it said before."""
    seen = inbox.seen(tx, [each.message for each in asked])
    for each in asked:
        before = seen.get(_identity(each))
        if before is not None and before.digest != each.digest:
            each.answer = Conflict("id", "this source and id were used before with other content")
        elif before is not None:
            each.answer = Answer("repeat", generation=before.generation)
    return _open(asked)


def _of_unknown_agent(message: AmMessage) -> Answer | Conflict:
    if isinstance(message.data, NeedPay):
        return Answer("refused", ErrCode.UNKNOWN_AGENT, ERR_WORDS[ErrCode.UNKNOWN_AGENT])
    return Conflict("data.agent", "no such agent; add it with `daifu agents add`")


def _orders_paid(tx: Transaction, asked: Sequence[_Asked], limits: Limits, origin: str) -> AbstractSet[str]:
    """Register what is paid, by a message of its own or inside a request; the new orders."""
    paid = {each.message.order_no: data for each in asked if (data := _paid_order(each.message)) is not None}
    requests = {
        each.message.order_no: Request(each.message.data, _asked_us(each.message))
        for each in asked
        if isinstance(each.message.data, NeedPay) and each.message.data.order is not None
    }
    openings = {no: opening for no, request in requests.items() if (opening := opening_with_the_order(request))}
    found = register(tx, list(paid.values()), openings, limits, origin)
    for each in asked:
        order_no = each.message.order_no
        if order_no in found.conflicts:
            each.answer = found.conflicts[order_no]
        elif isinstance(each.message.data, OrderPaid):
            each.answer = Answer("done" if order_no in found.new else "repeat")
        elif order_no in found.opened:
            each.answer = Answer("accepted", generation=1)
    return found.new


def _paid_order(message: AmMessage) -> OrderPaid | None:
    if isinstance(message.data, OrderPaid):
        return message.data
    return message.data.order if isinstance(message.data, NeedPay) else None


def _need_pays(tx: Transaction, asked: Sequence[_Asked], limits: Limits, origin: str, own: AbstractSet[str]) -> None:
    if not asked:
        return
    order_nos = {each.message.order_no for each in asked}
    unknown = order_nos - own
    unknown -= orders.known(tx, unknown)
    if unknown:
        inbox.meet_orders(tx, sorted(unknown))  # their order.paid may be committing right now
        unknown -= orders.known(tx, unknown)
    _wait_for_orders(tx, [each for each in asked if each.message.order_no in unknown], limits)
    requests = [
        Request(each.message.data, _asked_us(each.message))
        for each in _open(asked)
        if isinstance(each.message.data, NeedPay)
    ]
    answers = decide_all(tx, requests, limits, origin, own) if requests else {}
    for each in _open(asked):
        each.answer = answers[each.message.order_no]


def _asked_us(message: AmMessage) -> int:
    return int(message.time.timestamp() * 1_000_000)


def _wait_for_orders(tx: Transaction, asked: Sequence[_Asked], limits: Limits) -> None:
    if not asked:
        return
    until = now(tx) + timedelta(seconds=limits.order_wait_s)
    waiting = {work_key(each.message.order_no, 0, Step.ORDER_WAIT): each.message.order_no for each in asked}
    there = {row.key for row in work.find(tx, waiting)}
    rows = [NewRow(number, 0, Step.ORDER_WAIT, until, until) for key, number in waiting.items() if key not in there]
    work.add_all(tx, rows)
    detail = {"until": until.isoformat()}
    history.tell_all(tx, [Line(number, "need_pay_waits_for_order", "am", detail) for number in waiting.values()])
    for each in asked:
        each.answer, each.waits = Answer("waiting"), True


def _remember(tx: Transaction, asked: Sequence[_Asked]) -> None:
    """Ids for good with their answers; a refusal is told. Raises Moved."""
    answered = [(each, each.answer) for each in asked if isinstance(each.answer, Answer)]
    # 999 says "send again": from the queue nobody would, so the transaction is undone and the message stays.
    if any(answer.err_code is ErrCode.NOT_STORED for _, answer in answered):
        raise Moved("the order moved while it was decided; the same message is decided anew")
    heard = [
        Heard(each.message, each.digest, answer.result, answer.generation, _payload(each)) for each, answer in answered
    ]
    inbox.remember(tx, heard)
    refused = [
        Refused(each.message.order_no, each.message.data.agent, each.message.id, answer.err_code, answer.words)
        for each, answer in answered
        if answer.err_code is not None
    ]
    results.emit_refusals(tx, refused)


def _payload(asked: _Asked) -> dict[str, object] | None:
    if not asked.waits:
        return None
    return {"data": asked.message.data.model_dump_json(exclude_none=True), "time_us": _asked_us(asked.message)}


__all__ = [
    "Answer",
    "Conflict",
    "Limits",
    "Moved",
    "Opening",
    "accept",
    "accept_all",
    "content_digest",
    "give_up_waiting",
    "open_all",
    "open_purchase",
]
