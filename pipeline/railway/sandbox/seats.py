"""How 12306 prints a hold: seats, berths, masked ID numbers, ticket states, what a behaviour makes of them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.ports import RailwayOrder, RailwayTicket
from pipeline.railway.sandbox.behaviours import Shown
from pipeline.railway.sandbox.holds import Hold, Passenger

COACH_NO = "11"
UNPAID, PAID, REFUNDED = "i", "a", "c"  # ticket_status_code, wire-protocols B.2
STATUS_NAMES = {UNPAID: "待支付", PAID: "已支付", REFUNDED: "已退票"}


@dataclass(frozen=True, slots=True)
class SeatKind:
    """A Qunar seat name taken apart as 12306 does it (wire-protocols A.6)."""

    type_code: str
    type_name: str
    level: str = ""  # 上 中 下, berths only


SEAT_KINDS: dict[str, SeatKind] = {
    "无座": SeatKind("1", "无座"),
    "硬座": SeatKind("1", "硬座"),
    "软座": SeatKind("2", "软座"),
    "一等座": SeatKind("M", "一等座"),
    "二等座": SeatKind("O", "二等座"),
    "一等软座": SeatKind("7", "一等软座"),
    "二等软座": SeatKind("8", "二等软座"),
    "硬卧上": SeatKind("3", "硬卧", "上"),
    "硬卧中": SeatKind("3", "硬卧", "中"),
    "硬卧下": SeatKind("3", "硬卧", "下"),
    "软卧上": SeatKind("4", "软卧", "上"),
    "软卧下": SeatKind("4", "软卧", "下"),
    "高级软卧上": SeatKind("6", "高级软卧", "上"),
    "高级软卧下": SeatKind("6", "高级软卧", "下"),
    "动卧上": SeatKind("F", "动卧", "上"),
    "动卧下": SeatKind("F", "动卧", "下"),
    "高级动卧上": SeatKind("A", "高级动卧", "上"),
    "高级动卧下": SeatKind("A", "高级动卧", "下"),
    "特等座": SeatKind("P", "特等座"),
    "商务座": SeatKind("9", "商务座"),
    "观光座": SeatKind("Q", "观光座"),
}
# Qunar's seat codes are taken for their names: order messages carry the codes
SEAT_CODES: dict[str, str] = {
    "0": "无座",
    "1": "硬座",
    "2": "软座",
    "3": "一等座",
    "4": "二等座",
    "5": "硬卧上",
    "6": "硬卧中",
    "7": "硬卧下",
    "8": "软卧上",
    "9": "软卧下",
    "10": "高级软卧上",
    "11": "高级软卧下",
    "12": "特等座",
    "13": "商务座",
}
STRANGER_NAME, STRANGER_ID_NO = "赵不符", "000000190012319999"


def masked(id_no: str) -> str:
    """12306 shows the first 4 and the last 3 characters; what is too short to hide is shown."""
    return f"{id_no[:4]}{'*' * 11}{id_no[-3:]}" if len(id_no) > 7 else id_no


def seat_no(seat: str, index: int) -> str:
    """A number for the `index`-th passenger: `04号下铺`, `01A号`, `无座`."""
    kind = SEAT_KINDS[seat]
    if seat == "无座":
        return seat
    return f"{index + 4:02d}号{kind.level}铺" if kind.level else f"{index + 1:02d}{'ACDF'[index % 4]}号"


def railway_order(hold: Hold) -> RailwayOrder:
    """The hold as 12306 lists it now: unpaid ones carry their deadline, paid ones none."""
    unpaid = not hold.issued
    return RailwayOrder(
        hold_no=hold.held_order_no,
        train_no=hold.train_no,
        departure_at=hold.departure_at,
        from_station=hold.from_station,
        to_station=hold.to_station,
        tickets=_tickets(hold),
        total_fen=hold.total_fen,
        pay_deadline=hold.pay_deadline if unpaid else None,
    )


def _tickets(hold: Hold) -> tuple[RailwayTicket, ...]:
    status = REFUNDED if hold.refunded else PAID if hold.issued else UNPAID
    people = list(hold.passengers)
    if hold.rule.stranger:
        people[-1] = Passenger(STRANGER_NAME, "1", STRANGER_ID_NO, people[-1].ticket_type)
    tickets = [
        RailwayTicket(
            passenger_name=person.name,
            id_type=person.id_type,
            id_no=masked(person.id_no),
            seat=seat.seat,
            coach_no=COACH_NO,
            seat_no=seat_no(seat.seat, index),
            ticket_type=person.ticket_type,
            price_fen=seat.price_fen,
            status_code=status,
        )
        for index, (person, seat) in enumerate(zip(people, hold.seats, strict=True))
    ]
    if hold.rule.price_up_fen:
        tickets[0] = tickets[0]._replace(price_fen=tickets[0].price_fen + hold.rule.price_up_fen)
    return tuple(tickets)


def listed_as_finished(hold: Hold) -> bool:
    """In queryMyOrder: paid and ticketed by anybody, refunded since or not. Debited and never ticketed is nowhere."""
    return hold.issued and hold.rule.shown in {Shown.UNPAID, Shown.FINISHED}
