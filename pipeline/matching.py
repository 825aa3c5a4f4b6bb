"""Is this held order the order that the user paid for? (DESIGN section 5.2). Pure; amounts in 分, times aware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta, timezone
from typing import NamedTuple

from pipeline.ports import RailwayOrder, RailwayTicket
from pipeline.reasons import Reason

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")  # no summer time since 1991
CHILD = "0"  # Qunar's ticketType


class ExpectedPassenger(NamedTuple):
    name: str
    id_type: str
    id_no: str
    ticket_type: str


class ExpectedOrder(NamedTuple):
    """What the user paid for. `train_nos` are alternatives; `seats` are the names of the seat and its fallbacks."""

    train_nos: tuple[str, ...]
    departs_on: date  # the day in Asia/Shanghai
    from_station: str
    to_station: str
    passengers: tuple[ExpectedPassenger, ...]
    seats: frozenset[str]
    fare_fen: int
    stated_fen: int | None  # the price of the request, where it stated one


@dataclass(frozen=True, slots=True)
class Mismatch:
    reason: Reason
    detail: str  # names what differs; never a whole ID number


def differs(held: RailwayOrder, expected: ExpectedOrder) -> Mismatch | None:
    """The first thing that speaks against paying this held order, or None."""
    trip = _trip_differs(held, expected)
    if trip is not None:
        return Mismatch(Reason.ORDER_MISMATCH, trip)
    foreign = {ticket.seat for ticket in held.tickets} - expected.seats
    if foreign:
        wanted = "、".join(sorted(expected.seats))
        return Mismatch(Reason.ORDER_MISMATCH, f"席别 {'、'.join(sorted(foreign))} 不在订单席别 {wanted} 之内")
    if not _same_people(held.tickets, expected.passengers):
        return Mismatch(Reason.ORDER_MISMATCH, "乘车人与订单不符")
    if sum(ticket.price_fen for ticket in held.tickets) != held.total_fen:
        return Mismatch(Reason.ORDER_MISMATCH, "各票价之和与占座总额不符")
    if expected.stated_fen is not None and held.total_fen != expected.stated_fen:
        return Mismatch(Reason.PRICE_MISMATCH, f"占座金额 {held.total_fen} 分, 请求金额 {expected.stated_fen} 分")
    if held.total_fen > expected.fare_fen:
        return Mismatch(Reason.FARE_EXCEEDED, f"占座金额 {held.total_fen} 分, 车票费 {expected.fare_fen} 分")
    return None


def _trip_differs(held: RailwayOrder, expected: ExpectedOrder) -> str | None:
    if held.train_no not in expected.train_nos:
        return f"车次 {held.train_no}, 订单车次 {'/'.join(expected.train_nos)}"
    day = held.departure_at.astimezone(SHANGHAI).date()
    if day != expected.departs_on:
        return f"乘车日期 {day}, 订单 {expected.departs_on}"
    if (held.from_station, held.to_station) != (expected.from_station, expected.to_station):
        return f"{held.from_station}-{held.to_station}, 订单 {expected.from_station}-{expected.to_station}"
    if len(held.tickets) != len(expected.passengers):
        return f"{len(held.tickets)} 张票, 订单 {len(expected.passengers)} 人"
    return None


def _same_id(shown: str, full: str) -> bool:
    """12306 masks the middle of an ID number; whatever it shows must agree, and some of it must be shown."""
    if "*" not in shown:
        return shown.upper() == full.upper()
    head, tail = shown[: shown.index("*")], shown[shown.rindex("*") + 1 :]
    upper = full.upper()
    shows = len(head) + len(tail)
    return 0 < shows <= len(full) and upper.startswith(head.upper()) and upper.endswith(tail.upper())


def _is_for(ticket: RailwayTicket, passenger: ExpectedPassenger) -> bool:
    if ticket.ticket_type != passenger.ticket_type or ticket.id_type != passenger.id_type:
        return False
    # A child travels on an adult's ID number and the held ticket shows the adult's name (wire-protocols A.4).
    same_name = passenger.ticket_type == CHILD or ticket.passenger_name == passenger.name
    return same_name and _same_id(ticket.id_no, passenger.id_no)


def _same_people(tickets: Sequence[RailwayTicket], passengers: Sequence[ExpectedPassenger]) -> bool:
    """A one-to-one pairing exists. Masked numbers can fit two people, so pairings are searched, not guessed."""
    if not tickets:
        return not passengers
    first, rest = tickets[0], tickets[1:]
    return any(
        _is_for(first, passenger) and _same_people(rest, [*passengers[:i], *passengers[i + 1 :]])
        for i, passenger in enumerate(passengers)
    )
