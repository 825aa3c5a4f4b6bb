"""The ledger's postings: which account gives, which gains, under which key. Amounts are integer 分.

Every posting balances. Every posting has a unique key, so doing it twice is doing it once. All ways in which an order's
frozen money can leave share one key (`thaw:{order}`), post and void of a hold share one (`resolve:{attempt}`), and an order has
one for a payment without a hold (`found:{order}`): whichever comes first is the only one. Entries are never changed; a correction is a posting that names what it corrects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.errors import DaifuError


class Account(StrEnum):
    """The first five belong to an agent and never go below zero; the last three are the outside world."""

    FROZEN = "frozen"
    PROCUREMENT = "procurement"
    IN_FLIGHT = "in_flight"
    AVAILABLE = "available"
    REFUND = "refund"
    USER = "user"
    RAILWAY = "railway"
    BANK = "bank"


GUARDED: frozenset[Account] = frozenset(
    {Account.FROZEN, Account.PROCUREMENT, Account.IN_FLIGHT, Account.AVAILABLE, Account.REFUND}
)

ACCOUNT_WORDS: dict[Account, str] = {
    Account.FROZEN: "冻结",
    Account.PROCUREMENT: "采购资金",
    Account.IN_FLIGHT: "采购在途",
    Account.AVAILABLE: "可用",
    Account.REFUND: "退款账户",
    Account.USER: "用户",
    Account.RAILWAY: "12306",
    Account.BANK: "银行",
}


class Kind(StrEnum):
    FREEZE = "freeze"
    HOLD = "hold"
    POST = "post"
    VOID = "void"
    FOUND_PAYMENT = "found_payment"  # of ours, without a hold: what stood behind it was lost with a database
    UNFREEZE = "unfreeze"  # with the partial refund in the same posting
    DEPARTURE_UNFREEZE = "departure_unfreeze"
    FULL_REFUND = "full_refund"
    RAILWAY_REFUND = "railway_refund"
    TOP_UP = "top_up"


# What may give and gain in each kind: the audit checks every stored posting against this table.
ALLOWED_LEGS: dict[Kind, tuple[frozenset[Account], frozenset[Account]]] = {
    Kind.FREEZE: (frozenset({Account.USER}), frozenset({Account.FROZEN})),
    Kind.HOLD: (frozenset({Account.PROCUREMENT}), frozenset({Account.IN_FLIGHT})),
    Kind.POST: (frozenset({Account.IN_FLIGHT, Account.PROCUREMENT}), frozenset({Account.RAILWAY, Account.PROCUREMENT})),
    Kind.VOID: (frozenset({Account.IN_FLIGHT}), frozenset({Account.PROCUREMENT})),
    Kind.FOUND_PAYMENT: (frozenset({Account.PROCUREMENT}), frozenset({Account.RAILWAY})),
    Kind.UNFREEZE: (frozenset({Account.FROZEN}), frozenset({Account.AVAILABLE, Account.USER})),
    Kind.DEPARTURE_UNFREEZE: (frozenset({Account.FROZEN}), frozenset({Account.AVAILABLE})),
    Kind.FULL_REFUND: (frozenset({Account.FROZEN}), frozenset({Account.USER})),
    Kind.RAILWAY_REFUND: (frozenset({Account.RAILWAY}), frozenset({Account.REFUND})),
    Kind.TOP_UP: (frozenset({Account.BANK}), frozenset({Account.PROCUREMENT})),
}


class Unbalanced(DaifuError):
    """A posting whose legs do not sum to zero, or that moves nothing: a defect in the caller."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One transaction of an agent's ledger. `legs` are (account, amount): + gains, - gives."""

    key: str
    kind: Kind
    agent: str
    legs: tuple[tuple[Account, int], ...]
    order_no: str | None = None
    attempt_id: str | None = None
    note: str = field(default="")

    def __post_init__(self) -> None:
        amounts = [amount for _account, amount in self.legs]
        if len(amounts) < 2 or sum(amounts) != 0 or 0 in amounts:
            raise Unbalanced(f"{self.kind} {self.key}: {self.legs}")


def _move(source: Account, target: Account, fen: int) -> tuple[tuple[Account, int], ...]:
    return ((source, -fen), (target, fen))


def freeze(agent: str, order_no: str, fare_fen: int) -> Posting:
    """The user paid: the fare is frozen for the agent."""
    return Posting(f"freeze:{order_no}", Kind.FREEZE, agent, _move(Account.USER, Account.FROZEN, fare_fen), order_no)


def hold(agent: str, order_no: str, attempt_id: str, amount_fen: int) -> Posting:
    """Set aside what the pay form asks for; committed together with the intent."""
    legs = _move(Account.PROCUREMENT, Account.IN_FLIGHT, amount_fen)
    return Posting(f"hold:{attempt_id}", Kind.HOLD, agent, legs, order_no, attempt_id)


def post(agent: str, order_no: str, attempt_id: str, held_fen: int, debited_fen: int) -> Posting:
    """The money went to 12306. A difference to what was held comes from or returns to procurement."""
    legs: list[tuple[Account, int]] = [(Account.IN_FLIGHT, -held_fen), (Account.RAILWAY, debited_fen)]
    if held_fen != debited_fen:
        legs.append((Account.PROCUREMENT, held_fen - debited_fen))
    return Posting(f"resolve:{attempt_id}", Kind.POST, agent, tuple(legs), order_no, attempt_id)


def void(agent: str, order_no: str, attempt_id: str, held_fen: int) -> Posting:
    """Proven: our money did not move. The hold goes back."""
    legs = _move(Account.IN_FLIGHT, Account.PROCUREMENT, held_fen)
    return Posting(f"resolve:{attempt_id}", Kind.VOID, agent, legs, order_no, attempt_id)


def found_payment(agent: str, order_no: str, debited_fen: int) -> Posting:
    """A person found out that our money went to 12306 for this order, and no hold of ours stands behind it. Once per order."""
    legs = _move(Account.PROCUREMENT, Account.RAILWAY, debited_fen)
    return Posting(f"found:{order_no}", Kind.FOUND_PAYMENT, agent, legs, order_no)


def unfreeze(agent: str, order_no: str, frozen_fen: int, paid_fen: int) -> Posting:
    """Ticketed: what was paid goes to the agent, the rest back to the user (部分退款)."""
    legs: list[tuple[Account, int]] = [(Account.FROZEN, -frozen_fen)]
    to_agent = min(paid_fen, frozen_fen)
    if to_agent:
        legs.append((Account.AVAILABLE, to_agent))
    if frozen_fen > to_agent:
        legs.append((Account.USER, frozen_fen - to_agent))
    return Posting(f"thaw:{order_no}", Kind.UNFREEZE, agent, tuple(legs), order_no)


def departure_unfreeze(agent: str, order_no: str, frozen_fen: int) -> Posting:
    """The old way of working (现有模式): after departure the fare of an order ticketed offline goes to the agent."""
    legs = _move(Account.FROZEN, Account.AVAILABLE, frozen_fen)
    return Posting(f"thaw:{order_no}", Kind.DEPARTURE_UNFREEZE, agent, legs, order_no)


def full_refund(agent: str, order_no: str, frozen_fen: int) -> Posting:
    """No ticket: the user gets all back."""
    legs = _move(Account.FROZEN, Account.USER, frozen_fen)
    return Posting(f"thaw:{order_no}", Kind.FULL_REFUND, agent, legs, order_no)


def railway_refund(agent: str, order_no: str, refund_id: str, amount_fen: int) -> Posting:
    """12306 gave money back: it belongs to the agent's refund account. Once per refund id."""
    legs = _move(Account.RAILWAY, Account.REFUND, amount_fen)
    return Posting(f"railway_refund:{order_no}:{refund_id}", Kind.RAILWAY_REFUND, agent, legs, order_no)


def top_up(agent: str, key: str, amount_fen: int, reason: str) -> Posting:
    """The agent's procurement fund grows."""
    legs = _move(Account.BANK, Account.PROCUREMENT, amount_fen)
    return Posting(f"top_up:{key}", Kind.TOP_UP, agent, legs, note=reason)
