"""What an agent's HTTP request does, in the transaction that it is answered from (DESIGN section 5, the table).

The cells are decided by `requests.decide` and done by the functions that intake uses. Beside the table there is one rule that
only HTTP needs: a request with the same content as the last is a repeat until REPEAT_WINDOW_S after the outcome, delivered or
not, for clients repeat what they got no answer to, and such a repeat must not pay for the order once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pipeline import order_requests
from pipeline.acceptance import Limits, Opening, open_purchase
from pipeline.agent_asks import AgentAsk, AgentReply
from pipeline.requests import ERR_WORDS, Decision, ErrCode, RequestKind, Verdict, decide
from pipeline.store import history, inbox, orders, queries_agents
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction

ORIGIN = "http"
_REPEAT = AgentReply(repeat=True)


def replies_without_work(tx: Transaction, asks: Sequence[AgentAsk], repeat_window_s: float) -> list[AgentReply | None]:
    """The answers that change nothing, read in one transaction; None for what has to be done by `act`."""
    pays = {ask.order_no for ask in asks if ask.kind is RequestKind.NEED_PAY}
    others = {ask.order_no for ask in asks if ask.kind is not RequestKind.NEED_PAY}
    standing = queries_agents.standing(tx, pays) if pays else {}
    whole = orders.load(tx, others) if others else {}  # their tickets are compared
    replies = []
    for ask in asks:
        found = standing if ask.kind is RequestKind.NEED_PAY else whole
        replies.append(_unchanged(tx, ask, found.get(ask.order_no), repeat_window_s))
    return replies


def act(tx: Transaction, ask: AgentAsk, limits: Limits, repeat_window_s: float) -> AgentReply:
    """Decide and do. Everything that was answered `ret:true` is stored with the commit and refused by nobody later."""
    if ask.kind is RequestKind.NEED_PAY:
        orders.lock(tx, ask.order_no)  # the others guard each of their writes, as for the queue
    order = orders.load(tx, [ask.order_no]).get(ask.order_no)
    reply = _unchanged(tx, ask, order, repeat_window_s)
    if reply is not None:
        return reply
    if order is None:
        return _refusal(ErrCode.UNKNOWN_ORDER)
    if ask.kind is RequestKind.NEED_PAY:
        return _need_pay(tx, ask, order, limits)
    answer = order_requests.request(tx, ask.order_no, ask.kind, ask.detail, actor=ask.actor)
    if answer.err_code is not None:
        return AgentReply(answer.err_code, answer.words)
    return AgentReply(repeat=answer.result == "repeat")


def _need_pay(tx: Transaction, ask: AgentAsk, order: Row[Any], limits: Limits) -> AgentReply:
    decision = decide(RequestKind.NEED_PAY, orders.facts_of(order), ask.hold)
    if decision.verdict is Verdict.REFUSE:
        history.tell(tx, order.order_no, "need_pay_refused", ask.actor, err_code=decision.err_code)
        return AgentReply(decision.err_code, decision.words)
    asked_us = int(now(tx).timestamp() * 1_000_000)
    opening = Opening(order, ask.login, ask.hold, ask.stated_fen, ask.password_sealed, asked_us, ask.digest)
    opened = open_purchase(tx, opening, limits, ORIGIN, ask.actor)
    return AgentReply() if opened is not None else _refusal(ErrCode.NOT_STORED)


def _unchanged(tx: Transaction, ask: AgentAsk, order: Row[Any] | None, repeat_window_s: float) -> AgentReply | None:
    """The answer, where it changes nothing: repeats, and refusals that the order's story ends with already."""
    if order is None:
        waits = inbox.is_waited_for(tx, ask.order_no)
        return _refusal(ErrCode.NOT_PAID if waits else ErrCode.UNKNOWN_ORDER)
    if order.agent != ask.agent:
        return _refusal(ErrCode.UNKNOWN_ORDER)
    decision = decide(ask.kind, orders.facts_of(order), ask.hold)
    if decision.verdict is Verdict.REFUSE:
        return _told_refusal(tx, ask, decision)
    if decision.verdict is Verdict.REPEAT or _is_repeat(tx, ask, order, decision.verdict, repeat_window_s):
        return _REPEAT
    return None


def _told_refusal(tx: Transaction, ask: AgentAsk, decision: Decision) -> AgentReply | None:
    if not history.is_latest(tx, ask.order_no, f"{ask.kind}_refused", ask.actor, err_code=decision.err_code):
        return None
    return AgentReply(decision.err_code, decision.words, repeat=True)


def _is_repeat(tx: Transaction, ask: AgentAsk, order: Row[Any], verdict: Verdict, repeat_window_s: float) -> bool:
    if verdict is Verdict.KEEP:
        return bool(order.kept_confirm == ask.detail)
    if verdict is Verdict.STORE_TICKETS:
        return bool(order.tickets == ask.detail["tickets"])
    if verdict is not Verdict.ACCEPT or ask.digest is None or order.content_digest != ask.digest:
        return False
    return order.concluded_at is not None and now(tx) < order.concluded_at + timedelta(seconds=repeat_window_s)


def _refusal(code: ErrCode) -> AgentReply:
    return AgentReply(code, ERR_WORDS[code])
