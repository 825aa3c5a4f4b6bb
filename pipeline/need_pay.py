"""Requests to pay for orders: decided from each order's facts, and each accepted one opens a generation (DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pipeline.order_requests import Answer
from pipeline.requests import ERR_WORDS, ErrCode, OrderFacts, RequestKind, Verdict, decide
from pipeline.store import callbacks, dead_letters, history, orders, recovery, results, work
from pipeline.store.clock import stamp
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.results import NewlyOpen
from pipeline.store.rows import together
from pipeline.store.types import from_us
from pipeline.store.work import NewRow, Step
from schemas.am_messages import NeedPay


@dataclass(frozen=True, slots=True)
class Limits:
    submit_within_s: float
    order_wait_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """A request to pay, and when it was made (microseconds since 1970)."""

    data: NeedPay
    asked_us: int


NEW: Final = OrderFacts(
    joint_trip=False,
    closure=None,
    refund_requested=False,
    generation=0,
    latest=None,
    intent=False,
    held_order_no=None,
)


class NewOrder(NamedTuple):
    """An order that is not stored yet, as far as opening its first generation needs it."""

    order_no: str
    agent: str
    generation: int = 0


class Opening(NamedTuple):
    """A generation to be opened on an order as it was read.

    asked_us        when it was asked for, None for just now
    content_digest  tells an HTTP request that is sent again from a new one
    """

    order: Row[Any] | NewOrder
    login: str
    hold: str | None
    stated_fen: int | None
    password_sealed: str | None
    actor: str
    asked_us: int | None = None
    content_digest: str | None = None

    @property
    def generation(self) -> int:
        return int(self.order.generation) + 1


def decide_all(
    tx: Transaction, requests: Sequence[Request], limits: Limits, origin: str, own: AbstractSet[str]
) -> dict[str, Answer]:
    """Decide and do requests for known orders, each order at most once; the answers by order number.

    `own`: orders that this transaction has stored, which nobody else can see yet.
    """
    order_nos = [request.data.order_no for request in requests]
    orders.lock(tx, *(order_no for order_no in order_nos if order_no not in own))
    known = orders.load(tx, order_nos)
    answers, story, openings = {}, [], []
    for request in requests:
        order_no, order = request.data.order_no, known[request.data.order_no]
        found = _decided(order, orders.facts_of(order), request)
        if isinstance(found, Opening):
            openings.append(found)
            continue
        answers[order_no] = found
        if found.result == "repeat":
            story.append(Line(order_no, "need_pay_repeated", "am", {"generation": order.generation}))
        elif found.err_code is not ErrCode.UNKNOWN_ORDER:
            story.append(Line(order_no, "need_pay_refused", "am", {"err_code": found.err_code}))
    history.tell_all(tx, story)
    opened = open_all(tx, openings, limits, origin)
    for opening in openings:
        order_no = opening.order.order_no
        accepted = Answer("accepted", generation=opening.generation)
        moved = Answer("refused", ErrCode.NOT_STORED, ERR_WORDS[ErrCode.NOT_STORED])
        answers[order_no] = accepted if order_no in opened else moved
    return answers


def opening_with_the_order(request: Request) -> Opening | None:
    """What the request opens if the order that came in the same message is new; None where it would be refused, or none came."""
    told = request.data.order
    if told is None:
        return None
    facts = NEW._replace(joint_trip=told.trip == "joint")
    found = _decided(NewOrder(told.order_no, told.agent), facts, request)
    return found if isinstance(found, Opening) else None


def _decided(order: Row[Any] | NewOrder, facts: OrderFacts, request: Request) -> Answer | Opening:
    data, holds = request.data, request.data.hold_numbers
    if len(holds) > 1:
        return Answer("refused", ErrCode.BAD_PARAMETER, "tickets: name more than one held order")
    if order.agent != data.agent:
        return Answer("refused", ErrCode.UNKNOWN_ORDER, ERR_WORDS[ErrCode.UNKNOWN_ORDER])
    hold = holds[0] if holds else None
    decision = decide(RequestKind.NEED_PAY, facts, hold)
    if decision.verdict is Verdict.REPEAT:
        return Answer("repeat", generation=order.generation)
    if decision.verdict is Verdict.REFUSE:
        return Answer("refused", decision.err_code, decision.words)
    return Opening(order, data.account, hold, data.price_fen, data.password_sealed, "am", request.asked_us)


def open_all(tx: Transaction, openings: Sequence[Opening], limits: Limits, origin: str) -> set[str]:
    """Open each order's next generation and make its credential lookup due; the order numbers. Missing are orders that moved
    meanwhile. Each order at most once.

    What makes an order one to be opened is guarded here, however long ago it was read: that nobody opened this generation,
    closed the order or asked for its money back. The rest of it never changes any more: a purchase that has ended unpaid.
    """
    opened = orders.next_generations(tx, [(opening.order.order_no, opening.order.generation) for opening in openings])
    if not opened:
        return set()
    moment = stamp(tx)
    done = [(opening, opened[opening.order.order_no]) for opening in openings if opening.order.order_no in opened]
    for opening, order in done:
        if order.recovering:
            _ask_about_a_lost_payment(tx, opening, moment)
    callbacks.cancel_pending(tx, *(order.order_no for _, order in done if order.generation > 1))
    dead_letters.supersede(
        tx, [(order.order_no, order.generation) for _, order in done if order.generation > 1 or order.failed_before]
    )
    _store_opened(tx, done, limits, origin)
    return set(opened)


def open_with_their_orders(tx: Transaction, openings: Sequence[Opening], limits: Limits, origin: str) -> None:
    """The same for orders that this transaction has stored with their first generation open. Nobody else can have moved them, and they
    have nothing to cancel, to supersede or to be asked about (`orders.without_a_past`)."""
    if openings:
        moment = stamp(tx)
        done = [(opening, NewlyOpen(opening.order.order_no, opening.order.agent, moment)) for opening in openings]
        _store_opened(tx, done, limits, origin)


def _store_opened(
    tx: Transaction, done: Sequence[tuple[Opening, Row[Any] | NewlyOpen]], limits: Limits, origin: str
) -> None:
    """The purchases of opened generations, with what makes them due and tells of them."""
    moment = stamp(tx)
    columns = [_columns(opening, moment, limits, origin) for opening, _ in done]
    accepted = [(order.order_no, order.generation, values) for (_, order), values in zip(done, columns, strict=True)]
    due = [
        NewRow(order_no, generation, Step.CREDENTIALS, values["stop_at"]) for order_no, generation, values in accepted
    ]
    with together(tx):
        orders.insert_accepted(tx, accepted)
        work.add_all(tx, due)
        results.emit_accepted(tx, [(order, opening.hold) for opening, order in done])
        history.tell_all(tx, [_accepted(opening, origin) for opening, _ in done])


def open_purchase(tx: Transaction, opening: Opening, limits: Limits, origin: str) -> str | None:
    """The same for one order; its purchase id, or None if the order moved meanwhile."""
    opened = open_all(tx, [opening], limits, origin)
    return f"{opening.order.order_no}:{opening.generation}" if opened else None


def _columns(opening: Opening, moment: datetime, limits: Limits, origin: str) -> dict[str, Any]:
    asked = moment if opening.asked_us is None else min(moment, from_us(opening.asked_us))
    return {
        "agent": opening.order.agent,
        "login": opening.login,
        "password_sealed": opening.password_sealed,
        "held_order_no": opening.hold,
        "stated_fen": opening.stated_fen,
        "origin": origin,
        "content_digest": opening.content_digest,
        "requested_at": asked,
        # Agents take the order back after 25 minutes (wire-protocols A.5); SUBMIT_WITHIN_S stays below.
        "stop_at": asked + timedelta(seconds=limits.submit_within_s),
    }


def _ask_about_a_lost_payment(tx: Transaction, opening: Opening, moment: datetime) -> None:
    """It may have been accepted, and paid, before the restore."""
    order_no = opening.order.order_no
    if recovery.in_question(tx, order_no, moment):
        recovery.ask(tx, f"{order_no}:{opening.generation}", order_no, opening.hold)


def _accepted(opening: Opening, origin: str) -> Line:
    detail = {
        "generation": opening.generation,
        "account": opening.login,
        "held_order_no": opening.hold,
        "origin": origin,
    }
    return Line(opening.order.order_no, "accepted", opening.actor, detail)
