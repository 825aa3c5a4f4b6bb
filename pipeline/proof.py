"""What the answers of 12306 and the cashier prove about a submitted payment (DESIGN section 5.5).

Silence, time-outs, 5xx, garbage and failed logins never get here as answers: they are None and prove nothing.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.ports import RailwayOrder, Trade, TradeState
from pipeline.reasons import Reason
from schemas.codes import seat_code

Json = dict[str, Any]

# wire-protocols B.2
PAID_CODES = frozenset("abm")  # 已支付, 已出票, 已出站
GONE_BACK_CODES = frozenset("cdefjpqrs")  # refunded, changed, changing: money had moved
UNPAID_CODES = frozenset("i")  # 待支付


class Listing(StrEnum):
    """Where 12306 has the order now."""

    PAID = "paid"  # in the finished list, every ticket paid
    GONE_BACK = "gone_back"  # in the finished list, a ticket refunded or changed
    UNPAID = "unpaid"  # in the unpaid list
    ABSENT = "absent"  # in neither


def listing_of(finished: RailwayOrder | None, *, in_unpaid_list: bool) -> Listing | None:
    """Reduce both lists to one word; the finished list wins, since it only grows.

    None: the finished list has the order, but neither as wholly paid nor as wholly unpaid. That proves nothing.
    """
    if finished is not None:
        codes = {ticket.status_code for ticket in finished.tickets}
        if codes & GONE_BACK_CODES:
            return Listing.GONE_BACK
        if codes and codes <= PAID_CODES:
            return Listing.PAID
        if codes != UNPAID_CODES:
            return None
    return Listing.UNPAID if in_unpaid_list else Listing.ABSENT


class Proven(StrEnum):
    PAID = "paid"
    UNPAID = "unpaid"
    ABNORMAL = "abnormal"
    NOTHING = "nothing"


def issued(order: RailwayOrder) -> tuple[Json, ...]:
    """Its tickets in the shape of a CONFIRM's, without anybody's ID number."""
    return tuple(
        {
            "ticket_no": order.hold_no,
            "seat_type": seat_code(ticket.seat) or ticket.seat,
            "seat_no": f"{ticket.coach_no}车{ticket.seat_no}",
            "price_fen": ticket.price_fen,
            "passenger_name": ticket.passenger_name,
            "ticket_type": ticket.ticket_type,
            "seq": "0",
        }
        for ticket in order.tickets
    )


class Finding(NamedTuple):
    """`by_time`: proven only because the question was put after the hold's deadline and grace, by the clock of who put it."""

    proven: Proven
    reason: Reason | None = None
    debited_fen: int | None = None
    by_time: bool = False
    tickets: tuple[Json, ...] = ()  # of an order that 12306 lists as paid; see `issued`


def weigh(
    listing: Listing | None, trade: Trade | None, *, amount_fen: int, asked_at: datetime, final_after: datetime
) -> Finding:
    """What is proven by these two answers, both to questions put at `asked_at`.

    `final_after` is the hold's deadline plus grace: only answers to questions put after it can prove that nothing will
    come any more. `amount_fen` is the form's amount.
    """
    if trade is not None and trade.state is TradeState.REFUNDED:
        return Finding(Proven.ABNORMAL, Reason.NOT_ISSUED, trade.amount_fen)
    if trade is not None and trade.state is TradeState.PAID and trade.amount_fen != amount_fen:
        return Finding(Proven.ABNORMAL, Reason.AMOUNT_DIFFERS, trade.amount_fen)
    nothing = Finding(Proven.NOTHING)
    if listing is None or trade is None:
        return nothing
    if trade.state is TradeState.PAID and listing is Listing.PAID:
        return Finding(Proven.PAID, None, trade.amount_fen)
    if trade.state is TradeState.PAID and listing is Listing.GONE_BACK:
        return Finding(Proven.ABNORMAL, Reason.NOT_ISSUED, trade.amount_fen)
    if asked_at <= final_after:
        return nothing
    if trade.state is TradeState.PAID:
        return Finding(Proven.ABNORMAL, Reason.NOT_ISSUED, trade.amount_fen, by_time=True)
    if listing in (Listing.PAID, Listing.GONE_BACK):
        return Finding(Proven.ABNORMAL, Reason.PAID_ELSEWHERE, 0, by_time=True)
    return Finding(Proven.UNPAID, Reason.UNPAID_AFTER_DEADLINE, 0, by_time=True)
