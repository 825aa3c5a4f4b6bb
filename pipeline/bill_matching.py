"""Does a line of the bill agree with what we know of its payment or refund? Pure; amounts in 分."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class LineState(StrEnum):
    """Of a bill's line. `IN_FLIGHT`: it is our payment, whose outcome is not booked yet; that has its own task where it needs one."""

    MATCHED = "matched"
    IN_FLIGHT = "in_flight"
    DIFFERS = "differs"
    UNMATCHED = "unmatched"
    OTHER = "other"


class BreakKind(StrEnum):
    ONLY_THERE = "only_there"  # on the bill, not in our books
    ONLY_HERE = "only_here"
    DIFFERS = "differs"


BREAK_OF: dict[LineState, BreakKind] = {
    LineState.DIFFERS: BreakKind.DIFFERS,
    LineState.UNMATCHED: BreakKind.ONLY_THERE,
}


@dataclass(frozen=True, slots=True)
class Payment:
    """A submitted attempt. `posted_fen`: what was posted to 12306, None while nothing was. `unpaid`: proven not to have been paid."""

    attempt_id: str
    order_no: str
    held_fen: int
    posted_fen: int | None
    unpaid: bool
    taken: bool  # another line of a bill is this payment already


@dataclass(frozen=True, slots=True)
class Refund:
    """What AM told of a 12306 refund, and no line of a bill is yet."""

    order_no: str
    refund_id: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`attempt_id` and `refund_id`: what the line is, where it is ours. `why`: for people, where it does not agree."""

    state: LineState
    order_no: str | None = None
    attempt_id: str | None = None
    refund_id: str | None = None
    here_fen: int | None = None
    why: str = ""


def of_payment(there_fen: int, payment: Payment | None) -> Verdict:
    """Money left the account for this trade."""
    if payment is None:
        return Verdict(LineState.UNMATCHED, why="账单上有这笔支出, 这里没有这个交易号的支付")
    if payment.taken:
        return Verdict(LineState.UNMATCHED, payment.order_no, why="账单上同一个交易扣了不止一次")
    if payment.unpaid:
        why = "账单上扣了款, 这里已按没有支付处理: 订单可能已重新代付, 先核实再做任何操作"
        return Verdict(LineState.UNMATCHED, payment.order_no, why=why)
    here_fen = payment.held_fen if payment.posted_fen is None else payment.posted_fen
    if here_fen != there_fen:
        why = "账单上的扣款与这里的金额不同"
        return Verdict(LineState.DIFFERS, payment.order_no, payment.attempt_id, here_fen=here_fen, why=why)
    state = LineState.IN_FLIGHT if payment.posted_fen is None else LineState.MATCHED
    return Verdict(state, payment.order_no, payment.attempt_id, here_fen=here_fen)


def of_refunds(there_fen: Sequence[int], order_no: str | None, refunds: Sequence[Refund]) -> list[Verdict]:
    """Money came back for one order, in several lines: equal amounts first, then the one that is left over on both sides."""
    if order_no is None:
        return [Verdict(LineState.UNMATCHED, why="账单上有这笔退款, 这里没有这个交易号的支付")] * len(there_fen)
    verdicts: list[Verdict | None] = [None] * len(there_fen)
    left = list(refunds)
    for place, fen in enumerate(there_fen):
        equal = next((refund for refund in left if refund.amount_fen == fen), None)
        if equal is not None:
            left.remove(equal)
            verdicts[place] = Verdict(LineState.MATCHED, order_no, refund_id=equal.refund_id, here_fen=fen)
    for place, verdict in enumerate(verdicts):
        if verdict is None and left:
            other, why = left.pop(0), "账单上的退款与12306通知的金额不同"
            verdicts[place] = Verdict(
                LineState.DIFFERS, order_no, refund_id=other.refund_id, here_fen=other.amount_fen, why=why
            )
    unknown = Verdict(LineState.UNMATCHED, order_no, why="账单上有这笔退款, 这里没有收到12306的退款通知")
    return [verdict or unknown for verdict in verdicts]
