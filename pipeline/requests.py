"""What a request does to a known order: DESIGN section 5's table, decided in one place for the queue and for HTTP.

`decide` is pure: it takes the facts as read in the transaction it will be answered from. The guarded writes that follow
may find that the facts moved; then the caller reads again and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pipeline.states import BEFORE_INTENT, LIVE, Closure, PurchaseState
from schemas.err_codes import ERR_WORDS as ERR_WORDS
from schemas.err_codes import ErrCode as ErrCode


class RequestKind(StrEnum):
    NEED_PAY = "need_pay"
    CONFIRM = "confirm"
    NO_TICKET = "no_ticket"
    REFUND_REQUESTED = "refund_requested"


class Verdict(StrEnum):
    ACCEPT = "accept"  # opens generation + 1
    REPEAT = "repeat"  # answered true, nothing moves
    REFUSE = "refuse"
    CLOSE = "close"  # closes the order; a live purchase without intent ends withdrawn
    KEEP = "keep"  # answered true, kept until the purchase's outcome is known
    STORE_TICKETS = "store_tickets"  # answered true, the tickets are stored, no money moves
    WITHDRAW = "withdraw"  # a live purchase without intent ends withdrawn


class OrderFacts(NamedTuple):
    joint_trip: bool
    closure: Closure | None
    refund_requested: bool
    generation: int  # 0: no purchase yet
    latest: PurchaseState | None
    intent: bool  # the latest purchase has a submitted attempt
    held_order_no: str | None  # of the latest purchase, as far as known


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    err_code: ErrCode | None = None
    words: str = ""


def _refuse(code: ErrCode, words: str = "") -> Decision:
    return Decision(Verdict.REFUSE, code, words or ERR_WORDS[code])


_REPEAT = Decision(Verdict.REPEAT)
_UNPAID = (None, PurchaseState.HELD_UNPAID, PurchaseState.NEVER_DEBITED)


def decide(kind: RequestKind, facts: OrderFacts, held_order_no: str | None = None) -> Decision:
    """The table's cell for this request. `held_order_no` is the hold that a NEED_PAY names, None where it names none."""
    if kind is RequestKind.NEED_PAY:
        return _need_pay(facts, held_order_no)
    if facts.closure is not None:
        return _closed(kind, facts.closure)
    if kind is RequestKind.CONFIRM:
        return _confirm(facts)
    if kind is RequestKind.NO_TICKET:
        return _no_ticket(facts)
    return _refund_requested(facts)


def _closed(kind: RequestKind, closure: Closure) -> Decision:
    same = {
        RequestKind.CONFIRM: closure is Closure.TICKETED_OFFLINE,
        RequestKind.NO_TICKET: closure is Closure.NO_TICKET,
        RequestKind.REFUND_REQUESTED: closure is Closure.REFUNDED,
    }
    return _REPEAT if same[kind] else _refuse(ErrCode.NOT_IN_THIS_STATE)


def _need_pay(facts: OrderFacts, held_order_no: str | None) -> Decision:
    if facts.joint_trip:
        return _refuse(ErrCode.JOINT_TRIP)
    if facts.closure is not None or facts.latest is PurchaseState.REFUNDED:
        return _refuse(ErrCode.CLOSED)
    if facts.latest in (PurchaseState.PURCHASED, PurchaseState.SETTLED):
        return _refuse(ErrCode.ALREADY_PURCHASED)
    if facts.latest in (PurchaseState.PAID_ABNORMAL, PurchaseState.NEVER_DEBITED):
        return _refuse(ErrCode.PAID_ABNORMAL)
    if facts.latest in LIVE:
        known = facts.held_order_no
        if held_order_no is not None and known is not None and held_order_no != known:
            return _refuse(ErrCode.HOLD_CONFLICT)
        return _REPEAT
    if facts.refund_requested:
        return _refuse(ErrCode.REFUND_REQUESTED)
    return Decision(Verdict.ACCEPT)


def _live_without_intent(facts: OrderFacts) -> bool:
    return facts.latest in BEFORE_INTENT and not facts.intent


def _confirm(facts: OrderFacts) -> Decision:
    if facts.latest in _UNPAID or _live_without_intent(facts):
        return Decision(Verdict.CLOSE)
    if facts.latest in (PurchaseState.PURCHASED, PurchaseState.SETTLED):
        return Decision(Verdict.STORE_TICKETS)
    if facts.latest is PurchaseState.REFUNDED:
        return _refuse(ErrCode.NOT_IN_THIS_STATE)
    return Decision(Verdict.KEEP)


def _no_ticket(facts: OrderFacts) -> Decision:
    if facts.latest in _UNPAID or _live_without_intent(facts):
        return Decision(Verdict.CLOSE)
    return _refuse(ErrCode.NOT_IN_THIS_STATE)


def _refund_requested(facts: OrderFacts) -> Decision:
    if facts.refund_requested or facts.latest is PurchaseState.REFUNDED:
        return _REPEAT
    if _live_without_intent(facts):
        return Decision(Verdict.WITHDRAW)
    return Decision(Verdict.KEEP)
