"""The states of a purchase and of an order.

Rules of this file:
1. Everything that decides which state may follow which stands here and nowhere else.
2. A purchase moves only along TRANSITIONS, by a guarded write; a step that is not listed raises and changes nothing.
3. Terminal states are written as an empty set.
4. The diagram in README.md is drawn from TRANSITIONS (`diagram()`), and a test fails when it is stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pipeline.errors import DaifuError
from pipeline.reasons import Outcome


class IllegalTransition(DaifuError):
    """A state change that TRANSITIONS does not list: a defect in the caller."""


class PurchaseState(StrEnum):
    ACCEPTED = "accepted"
    READY = "ready"  # its password is known
    PAYING = "paying"  # an attempt is open, before or right after its intent
    IN_DOUBT = "in_doubt"  # submitted, outcome unknown: only questions are asked
    PURCHASED = "purchased"
    SETTLED = "settled"
    HELD_UNPAID = "held_unpaid"
    PAID_ABNORMAL = "paid_abnormal"
    REFUNDED = "refunded"
    NEVER_DEBITED = "never_debited"


_P = PurchaseState

TRANSITIONS: Mapping[PurchaseState, frozenset[PurchaseState]] = {
    _P.ACCEPTED: frozenset({_P.READY, _P.HELD_UNPAID}),
    _P.READY: frozenset({_P.PAYING, _P.HELD_UNPAID}),
    _P.PAYING: frozenset({_P.READY, _P.IN_DOUBT, _P.HELD_UNPAID, _P.PAID_ABNORMAL}),
    _P.IN_DOUBT: frozenset({_P.PURCHASED, _P.HELD_UNPAID, _P.PAID_ABNORMAL}),
    _P.PURCHASED: frozenset({_P.SETTLED}),
    _P.SETTLED: frozenset(),
    _P.HELD_UNPAID: frozenset(),
    _P.PAID_ABNORMAL: frozenset({_P.PURCHASED, _P.REFUNDED, _P.NEVER_DEBITED}),  # by a person only
    _P.REFUNDED: frozenset(),
    _P.NEVER_DEBITED: frozenset(),
}

LIVE: frozenset[PurchaseState] = frozenset({_P.ACCEPTED, _P.READY, _P.PAYING, _P.IN_DOUBT})
BEFORE_INTENT: frozenset[PurchaseState] = frozenset({_P.ACCEPTED, _P.READY, _P.PAYING})

STATE_WORDS: Mapping[PurchaseState, str] = {
    _P.ACCEPTED: "已受理",
    _P.READY: "待支付",
    _P.PAYING: "支付中",
    _P.IN_DOUBT: "支付结果核实中",
    _P.PURCHASED: "采购完成",
    _P.SETTLED: "采购完成",
    _P.HELD_UNPAID: "占座成功未支付",
    _P.PAID_ABNORMAL: "支付完成,出票异常",
    _P.REFUNDED: "已退款",
    _P.NEVER_DEBITED: "核实未扣款",
}


def check(current: PurchaseState, following: PurchaseState) -> None:
    """Raise IllegalTransition unless `following` may come right after `current`."""
    if following not in TRANSITIONS[current]:
        raise IllegalTransition(f"a purchase cannot go from {current} to {following}")


def outcome_of(state: PurchaseState) -> Outcome | None:
    """The outcome that a state stands for; settled keeps purchased, a live purchase has none."""
    if state in (_P.PURCHASED, _P.SETTLED):
        return Outcome.PURCHASED
    if state in (_P.HELD_UNPAID, _P.NEVER_DEBITED):
        return Outcome.HELD_UNPAID
    if state in (_P.PAID_ABNORMAL, _P.REFUNDED):
        return Outcome.PAID_ABNORMAL
    return None


class Closure(StrEnum):
    """How an order was closed otherwise than by a purchase."""

    TICKETED_OFFLINE = "ticketed_offline"
    NO_TICKET = "no_ticket"
    REFUNDED = "refunded"


class OrderState(StrEnum):
    PAID = "paid"
    PURCHASING = "purchasing"
    TICKETED = "ticketed"
    TICKETED_OFFLINE = "ticketed_offline"
    PURCHASE_FAILED = "purchase_failed"
    NO_TICKET = "no_ticket"
    REFUNDED = "refunded"


ORDER_STATE_WORDS: Mapping[OrderState, str] = {
    OrderState.PAID: "已支付",
    OrderState.PURCHASING: "采购中",
    OrderState.TICKETED: "出票完成",
    OrderState.TICKETED_OFFLINE: "线下出票",
    OrderState.PURCHASE_FAILED: "采购失败",
    OrderState.NO_TICKET: "无票",
    OrderState.REFUNDED: "已退款",
}

# What an open order is called while its latest purchase is in this state.
ORDER_STATE_OF: Mapping[PurchaseState, OrderState] = {
    _P.ACCEPTED: OrderState.PURCHASING,
    _P.READY: OrderState.PURCHASING,
    _P.PAYING: OrderState.PURCHASING,
    _P.IN_DOUBT: OrderState.PURCHASING,
    _P.PURCHASED: OrderState.TICKETED,
    _P.SETTLED: OrderState.TICKETED,
    _P.HELD_UNPAID: OrderState.PURCHASE_FAILED,
    _P.PAID_ABNORMAL: OrderState.PURCHASE_FAILED,
    _P.NEVER_DEBITED: OrderState.PURCHASE_FAILED,
    _P.REFUNDED: OrderState.REFUNDED,
}


def order_state(closure: Closure | None, latest: PurchaseState | None) -> OrderState:
    """The order's state from how it was closed and from its latest purchase."""
    if closure is not None:
        return OrderState(closure.value)
    return OrderState.PAID if latest is None else ORDER_STATE_OF[latest]


def diagram() -> str:
    """The state machine as a Mermaid diagram; README.md holds exactly this text."""
    lines = ["stateDiagram-v2", f"    [*] --> {_P.ACCEPTED}"]
    for state, following in TRANSITIONS.items():
        lines.extend(f"    {state} --> {then}" for then in PurchaseState if then in following)
        if not following:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)
