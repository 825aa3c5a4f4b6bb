"""The order object of QueryOrders (wire-protocols A.4): names and types as the clients parse them.

Yuan as JSON numbers, times as Asia/Shanghai texts. No `null` is ever written: one client replaces that text by `"15"` before it parses.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from schemas.codes import seat_code, seat_name
from schemas.orders import Leg, OrderPaid, Passenger, Seat, Student

Json = dict[str, Any]

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
STUDENT_NAMES: dict[str, str] = {
    "province": "province",
    "province_code": "provinceCode",
    "school_code": "schoolCode",
    "school_name": "schoolName",
    "student_no": "studentNo",
    "schooling": "schooling",
    "intended_time": "intendedTime",
    "discount_section_begin": "discountSectionBegin",
    "discount_section_begin_code": "discountSectionBeginCode",
    "discount_section_end": "discountSectionEnd",
    "discount_section_end_code": "discountSectionEndCode",
}
ORDER_FIELDS: dict[str, str] = {  # for the agents' document
    "orderNo": "AM订单号",
    "orderType": "0 单程, 1 联程",
    "orderDate": "下单时间 yyyy-MM-dd HH:mm:ss",
    "trainNo": "车次; 可用 / 分隔多个备选车次",
    "trainStartTime": "发车时间 yyyy-MM-dd HH:mm",
    "trainEndTime": "到达时间 yyyy-MM-dd HH:mm, 未知时没有这一项",
    "dptStation": "出发站",
    "arrStation": "到达站",
    "seat": "坐席 {坐席代码: 票价}; 坐席没有代码时为 {}",
    "seatMap": "坐席 {坐席名称: 票价}",
    "extSeat": "备选坐席 [{坐席代码: 票价}]",
    "extSeatMap": "备选坐席 [{坐席名称: 票价}]",
    "ticketPay": "用户支付的车票费, 元",
    "isPaper": "0",
    "secondRefund": "0",
    "passengers": "乘车人 certNo, certType, name, ticketType, 学生票另有 passengerStudentExt",
    "jointTrip": "联程各程 seq (1..n), trainNo, trainStartTime, trainEndTime, dptStation, arrStation, seat, extSeat",
}


def order_object(order: OrderPaid) -> Json:
    """The order as an agent's program reads it."""
    legs = order.legs or ()
    shown: Json = {
        "orderNo": order.order_no,
        "orderType": 1 if order.trip == "joint" else 0,
        "orderDate": order.ordered_at.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S"),
        **_train(order),
        "ticketPay": yuan(order.fare_fen),
        "isPaper": "0",
        "secondRefund": 0,
        "passengers": [_passenger(one) for one in order.passengers],
        "jointTrip": [{"seq": number, **_train(leg)} for number, leg in enumerate(legs, 1)],
    }
    return shown


def _train(trip: OrderPaid | Leg) -> Json:
    shown: Json = {
        "trainNo": trip.train_no,
        "trainStartTime": _minute(trip.departure_at),
        "dptStation": trip.from_station,
        "arrStation": trip.to_station,
        "seat": _by_code([trip.seat]),
        "seatMap": {seat_name(trip.seat.code): yuan(trip.seat.price_fen)},
        "extSeat": [priced for seat in trip.fallback_seats if (priced := _by_code([seat]))],
        "extSeatMap": [{seat_name(seat.code): yuan(seat.price_fen)} for seat in trip.fallback_seats],
    }
    if trip.arrival_at is not None:
        shown["trainEndTime"] = _minute(trip.arrival_at)
    return shown


def _by_code(seats: Iterable[Seat]) -> dict[str, float]:
    codes = ((seat_code(seat_name(seat.code)), seat) for seat in seats)
    return {code: yuan(seat.price_fen) for code, seat in codes if code is not None}


def _passenger(passenger: Passenger) -> Json:
    shown: Json = {
        "certNo": passenger.id_no,
        "certType": passenger.id_type,
        "name": passenger.name,
        "ticketType": passenger.ticket_type,
    }
    if passenger.student is not None:
        shown["passengerStudentExt"] = _student(passenger.student)
    return shown


def _student(student: Student) -> Json:
    return {name: getattr(student, ours) for ours, name in STUDENT_NAMES.items()}


def _minute(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")


def yuan(fen: int) -> float:
    """Yuan as a JSON number."""
    return fen / 100
