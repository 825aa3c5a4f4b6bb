"""Orders as 12306's two lists show them (wire-protocols B.2, B.4), read into `RailwayOrder`."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pipeline.errors import Garbled
from pipeline.ports import RailwayOrder, RailwayTicket
from pipeline.railway.envelope import (
    MINUTE,
    SECOND,
    Fields,
    fen_of_yuan,
    list_of,
    moment,
    object_of,
    text_of,
    whole_number,
)

QUNAR_TICKET_TYPES: Final = {  # A.6: 12306's code -> Qunar's
    "1": "1",  # adult
    "2": "0",  # child
    "3": "2",  # student
    "4": "4",  # 伤残军人: Qunar has no code for it, so it matches no passenger of an order
}

_WITH_BERTHS: Final = frozenset(
    {"硬卧", "软卧", "高级软卧", "动卧", "高级动卧", "包厢硬卧"}
)  # A.6, names with 上/中/下
_LEVELS: Final = {"上铺": "上", "中铺": "中", "下铺": "下"}
_UNPAID: Final = frozenset("ijs")  # B.2: 待支付, 改签待支付, 变更到站待支付


def read_order(row: Fields) -> RailwayOrder:
    """One row of either list. Raises Garbled naming the field."""
    raw_tickets = list_of(row, "tickets")
    if not raw_tickets:
        raise Garbled("railway", "an order without tickets")
    return RailwayOrder(
        hold_no=text_of(row, "sequence_no"),
        train_no=text_of(row, "train_code_page"),
        departure_at=_time(row, "start_train_date_page", MINUTE),
        from_station=_stations(row, "from_station_name_page"),
        to_station=_stations(row, "to_station_name_page"),
        tickets=tuple(read_ticket(ticket) for ticket in raw_tickets),
        total_fen=_total_fen(row),
        pay_deadline=_pay_deadline(raw_tickets),
    )


def read_ticket(ticket: Fields) -> RailwayTicket:
    """One ticket of an order. Raises Garbled naming the field."""
    passenger = object_of(ticket, "passengerDTO")
    type_code = text_of(ticket, "ticket_type_code")
    if type_code not in QUNAR_TICKET_TYPES:
        raise Garbled("railway", "ticket_type_code is none of 12306's")
    return RailwayTicket(
        passenger_name=text_of(passenger, "passenger_name"),
        id_type=text_of(passenger, "passenger_id_type_code"),
        id_no=text_of(passenger, "passenger_id_no"),
        seat=seat_by_name(text_of(ticket, "seat_type_name"), text_of(ticket, "seat_name")),
        coach_no=text_of(ticket, "coach_no"),
        seat_no=text_of(ticket, "seat_name"),
        ticket_type=QUNAR_TICKET_TYPES[type_code],
        price_fen=whole_number(ticket, "ticket_price"),
        status_code=text_of(ticket, "ticket_status_code"),
    )


def seat_by_name(seat_type: str, seat_name: str) -> str:
    """12306's 席别 and place joined to Qunar's name: 硬卧 + 04号下铺 -> 硬卧下, 硬座 + 无座 -> 无座."""
    if seat_name == "无座":
        return "无座"
    if seat_type in _WITH_BERTHS:
        return seat_type + _LEVELS.get(seat_name[-2:], "")
    return seat_type


def merge(orders: list[RailwayOrder]) -> RailwayOrder | None:
    """One order out of its rows in several lists: the union of their tickets."""
    if not orders:
        return None
    first = orders[0]
    tickets = dict.fromkeys(ticket for order in orders for ticket in order.tickets)
    return RailwayOrder(
        first.hold_no,
        first.train_no,
        first.departure_at,
        first.from_station,
        first.to_station,
        tuple(tickets),
        first.total_fen,
        first.pay_deadline,
    )


def _total_fen(row: Fields) -> int:
    """`ticket_price_all`; where the page's yuan text stands beside it, both must say the same."""
    total = whole_number(row, "ticket_price_all")
    page = row.get("ticket_total_price_page")
    if isinstance(page, str) and page:
        try:
            agreed = fen_of_yuan(page) == total
        except ValueError:
            agreed = False
        if not agreed:
            raise Garbled("railway", "ticket_price_all and ticket_total_price_page differ")
    return total


def _stations(row: Fields, name: str) -> str:
    """An order over several stretches keeps all its names, and so matches no single trip."""
    value = row.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise Garbled("railway", f"{name} is missing or no list of names")
    return "/".join(dict.fromkeys(item.strip() for item in value))


def _pay_deadline(tickets: list[Fields]) -> datetime | None:
    """The earliest `pay_limit_time` of the unpaid tickets (B.5: always from the order, never a constant)."""
    unpaid = [ticket for ticket in tickets if ticket.get("ticket_status_code") in _UNPAID]
    return min((_time(ticket, "pay_limit_time", SECOND) for ticket in unpaid), default=None)


def _time(fields: Fields, name: str, form: str) -> datetime:
    text = text_of(fields, name)
    try:
        return moment(text, form)
    except ValueError:
        raise Garbled("railway", f"{name} is no time") from None
