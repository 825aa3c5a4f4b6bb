"""What agents' HTTP requests do, in the transaction that they are answered from (DESIGN section 5, the table).

The cells are decided by `requests.decide` and done by the functions that intake uses. Beside the table there is one rule that
only HTTP needs: a request with the same content as the last is a repeat until REPEAT_WINDOW_S after the outcome, delivered or
not, for clients repeat what they got no answer to, and such a repeat must not pay for the order once more.

Many at once are done by sets, in turns: each turn decides every order's first open request, and what is left of the same
orders is decided in the next from orders that are read anew. Purchases are opened on orders as they were read before the
transaction began: the guards of `need_pay.open_all` hold all that makes such an order one to be paid for, and an order that
has moved since is read again. Nothing else rests on that reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from pipeline import order_requests
from pipeline.acceptance import Limits, Opening, open_all
from pipeline.agent_asks import AgentAsk, AgentReply
from pipeline.order_requests import GUARD_TRIES
from pipeline.requests import ERR_WORDS, Decision, ErrCode, RequestKind, Verdict, decide
from pipeline.store import history, inbox, orders, queries_agents
from pipeline.store.clock import stamp
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line

ORIGIN = "http"
_REPEAT = AgentReply(repeat=True)

Orders = Mapping[str, Row[Any]]
Numbered = Mapping[int, AgentAsk]  # requests by their places among those that came together


@dataclass(frozen=True, slots=True)
class Look:
    """Requests as one reading finds them: their orders by number, unknown ones missing, and each one's reply where it changes
    nothing and nothing before it does. None is for `act_all`."""

    orders: Orders
    replies: list[AgentReply | None]


def look(tx: Transaction, asks: Sequence[AgentAsk], repeat_window_s: float) -> Look:
    """What is answered without a write, and how the orders of the others stand."""
    found = _orders_of(tx, asks)
    replies, _ = _sorted_out(tx, dict(enumerate(asks)), found, repeat_window_s)
    return Look(found, [replies.get(n) for n in range(len(asks))])


def act_all(
    tx: Transaction, asks: Sequence[AgentAsk], limits: Limits, repeat_window_s: float, seen: Orders | None = None
) -> list[AgentReply]:
    """Decide and do. Everything that was answered `ret:true` is stored with the commit and refused by nobody later.

    `seen`: the orders of a `look` that left these requests open, right before this transaction.
    """
    left, tries = dict(enumerate(asks)), Counter[int]()
    replies = {} if seen is None else _open(tx, _acceptable(tx, left, seen, repeat_window_s), seen, limits)
    while left := {n: ask for n, ask in left.items() if n not in replies}:
        found = _orders_of(tx, left.values())
        unchanged, to_do = _sorted_out(tx, left, found, repeat_window_s)
        done = _do(tx, to_do, found, limits)
        tries.update(to_do.keys() - done.keys())
        moving = {n: _refusal(ErrCode.NOT_STORED) for n, count in tries.items() if count == GUARD_TRIES}
        replies |= unchanged | moving | done
    return [replies[n] for n in range(len(asks))]


def _orders_of(tx: Transaction, asks: Iterable[AgentAsk]) -> Orders:
    pays: set[str] = set()
    others: set[str] = set()
    for ask in asks:
        (pays if ask.kind is RequestKind.NEED_PAY else others).add(ask.order_no)
    found = orders.load(tx, others) if others else {}  # their tickets are compared
    return found | queries_agents.standing(tx, pays - others) if pays - others else found


def _sorted_out(
    tx: Transaction, asks: Numbered, found: Orders, repeat_window_s: float
) -> tuple[dict[int, AgentReply], dict[int, AgentAsk]]:
    """Replies that change nothing, and each order's first request that has something to do: what came after it is decided
    when that is done."""
    replies: dict[int, AgentReply] = {}
    first: dict[str, int] = {}
    for n, ask in asks.items():
        if ask.order_no in first:
            continue
        reply = _unchanged(tx, ask, found.get(ask.order_no), repeat_window_s)
        if reply is None:
            first[ask.order_no] = n
        else:
            replies[n] = reply
    return replies, {n: asks[n] for n in first.values()}


def _acceptable(tx: Transaction, asks: Numbered, seen: Orders, repeat_window_s: float) -> dict[int, AgentAsk]:
    """Each order's first request, where it is a new one to pay for it."""
    first: dict[str, int] = {}
    for n, ask in asks.items():
        first.setdefault(ask.order_no, n)
    return {n: asks[n] for n in first.values() if _is_new(tx, asks[n], seen[asks[n].order_no], repeat_window_s)}


def _is_new(tx: Transaction, ask: AgentAsk, order: Row[Any], repeat_window_s: float) -> bool:
    verdict = _verdict(ask, order).verdict
    return verdict is Verdict.ACCEPT and not _is_repeat(tx, ask, order, verdict, repeat_window_s)


def _do(tx: Transaction, asks: Numbered, found: Orders, limits: Limits) -> dict[int, AgentReply]:
    """One request of each order. Missing are those whose order moved meanwhile."""
    replies: dict[int, AgentReply] = {}
    # A fixed order of keys, so that two transactions meet in the same order.
    ordered = sorted(asks, key=lambda n: asks[n].order_no)
    for to_pay, places in groupby(ordered, key=lambda n: asks[n].kind is RequestKind.NEED_PAY):
        if to_pay:
            replies |= _need_pay(tx, {n: asks[n] for n in places}, found, limits)
        else:
            replies |= {n: _request(tx, asks[n]) for n in places}
    return replies


def _request(tx: Transaction, ask: AgentAsk) -> AgentReply:
    answer = order_requests.request(tx, ask.order_no, ask.kind, ask.detail, actor=ask.actor)
    if answer.err_code is not None:
        return AgentReply(answer.err_code, answer.words)
    return AgentReply(repeat=answer.result == "repeat")


def _need_pay(tx: Transaction, asks: Numbered, found: Orders, limits: Limits) -> dict[int, AgentReply]:
    replies: dict[int, AgentReply] = {}
    story = []
    for n, ask in asks.items():
        decision = _verdict(ask, found[ask.order_no])
        if decision.verdict is Verdict.REFUSE:
            replies[n] = AgentReply(decision.err_code, decision.words)
            story.append(Line(ask.order_no, "need_pay_refused", ask.actor, {"err_code": decision.err_code}))
    history.tell_all(tx, story)
    return replies | _open(tx, {n: ask for n, ask in asks.items() if n not in replies}, found, limits)


def _open(tx: Transaction, asks: Numbered, found: Orders, limits: Limits) -> dict[int, AgentReply]:
    """Missing are those whose order moved meanwhile."""
    openings = [_opening(ask, found[ask.order_no]) for ask in asks.values()]
    opened = open_all(tx, openings, limits, ORIGIN)
    return {n: AgentReply() for n, ask in asks.items() if ask.order_no in opened}


def _opening(ask: AgentAsk, order: Row[Any]) -> Opening:
    return Opening(
        order, ask.login, ask.hold, ask.stated_fen, ask.password_sealed, ask.actor, content_digest=ask.digest
    )


def _verdict(ask: AgentAsk, order: Row[Any]) -> Decision:
    return decide(ask.kind, orders.facts_of(order), ask.hold)


def _unchanged(tx: Transaction, ask: AgentAsk, order: Row[Any] | None, repeat_window_s: float) -> AgentReply | None:
    """The answer, where it changes nothing: repeats, and refusals that the order's story ends with already."""
    if order is None:
        waits = inbox.is_waited_for(tx, ask.order_no)
        return _refusal(ErrCode.NOT_PAID if waits else ErrCode.UNKNOWN_ORDER)
    if order.agent != ask.agent:
        return _refusal(ErrCode.UNKNOWN_ORDER)
    decision = _verdict(ask, order)
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
    return order.concluded_at is not None and stamp(tx) < order.concluded_at + timedelta(seconds=repeat_window_s)


def _refusal(code: ErrCode) -> AgentReply:
    return AgentReply(code, ERR_WORDS[code])
