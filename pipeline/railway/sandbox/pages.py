"""12306's JSON: the envelope, orders and tickets with the field names of wire-protocols B.2, the pay form of B.3."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from pipeline.ports import RailwayOrder, RailwayTicket
from pipeline.railway.sandbox.behaviours import TAKEN_OVER
from pipeline.railway.sandbox.holds import CashierTrade
from pipeline.railway.sandbox.seats import COACH_NO, SEAT_KINDS, STATUS_NAMES
from pipeline.railway.sandbox.ticketing import CHINA
from pipeline.railway.sandbox.till import yuan

MAINTENANCE = "<html><head><title>系统维护</title></head><body>系统维护中，请稍后再试。</body></html>"
NOT_ALLOWED = "<html><body>HTTP 405: X-Requested-With is missing</body></html>"
_TICKET_TYPES = {"0": ("2", "儿童票"), "1": ("1", "成人票"), "2": ("3", "学生票")}  # Qunar → 12306


def envelope(data: Any = None, *, says: str | None = None, status: bool = True) -> dict[str, Any]:
    """12306's common answer. Without `data` and with a text in `messages` it is a business refusal."""
    body: dict[str, Any] = {
        "validateMessagesShowId": "_validatorMessage",
        "status": status,
        "httpstatus": 200,
        "messages": [says] if says is not None else [],
        "validateMessages": {},
    }
    if data is not None:
        body["data"] = data
    return body


def refusal(text: str) -> dict[str, Any]:
    """Busy and refused logins leave `status` true; a lost session makes it false (wire-protocols B)."""
    return envelope(says=text, status=not (text == TAKEN_OVER or text.startswith("用户未登")))


def unpaid_list(orders: Sequence[RailwayOrder], booked: dict[str, datetime]) -> dict[str, Any]:
    """queryMyOrderNoComplete; no unpaid order is an answer without `data`."""
    if not orders:
        return envelope()
    return envelope({"orderDBList": [order_json(order, booked[order.hold_no]) for order in orders], "to_page": "db"})


def finished_list(orders: Sequence[RailwayOrder], booked: dict[str, datetime], page: int, size: int) -> dict[str, Any]:
    """queryMyOrder: one page of `size` orders, `page` from 0."""
    shown = orders[page * size : (page + 1) * size]
    return envelope(
        {
            "order_total_number": str(len(orders)) if orders else "",
            "OrderDTODataList": [order_json(order, booked[order.hold_no]) for order in shown],
        }
    )


def order_json(order: RailwayOrder, booked_at: datetime) -> dict[str, Any]:
    departure = order.departure_at.astimezone(CHINA)
    unpaid = order.pay_deadline is not None
    return {
        "sequence_no": order.hold_no,
        "order_date": moment(booked_at),
        "ticket_totalnum": len(order.tickets),
        "ticket_price_all": order.total_fen,
        "pay_flag": "Y" if unpaid else "N",
        "cancel_flag": "Y" if unpaid else "N",
        "return_flag": "N" if unpaid else "Y",
        "print_eticket_flag": "N" if unpaid else "Y",
        "tickets": [_ticket_json(order, ticket, index, booked_at) for index, ticket in enumerate(order.tickets)],
        "reserve_flag_query": "p",
        "recordCount": "1",
        "array_passser_name_page": [ticket.passenger_name for ticket in order.tickets],
        "from_station_name_page": [order.from_station],
        "to_station_name_page": [order.to_station],
        "start_train_date_page": departure.strftime("%Y-%m-%d %H:%M"),
        "start_time_page": departure.strftime("%H:%M"),
        "train_code_page": order.train_no,
        "ticket_total_price_page": page_yuan(order.total_fen),
    }


def _ticket_json(order: RailwayOrder, ticket: RailwayTicket, index: int, booked_at: datetime) -> dict[str, Any]:
    kind = SEAT_KINDS[ticket.seat]
    type_code, type_name = _TICKET_TYPES[ticket.ticket_type]
    departure = order.departure_at.astimezone(CHINA)
    deadline = moment(order.pay_deadline) if order.pay_deadline is not None else ""
    return {
        "stationTrainDTO": {
            "trainDTO": {},
            "station_train_code": order.train_no,
            "from_station_name": order.from_station,
            "to_station_name": order.to_station,
            "start_time": f"1970-01-01 {departure:%H:%M}:00",
        },
        "passengerDTO": {
            "passenger_name": ticket.passenger_name,
            "passenger_id_type_code": ticket.id_type,
            "passenger_id_no": ticket.id_no,
        },
        "ticket_no": f"{order.hold_no}1{COACH_NO}{index + 1:04d}",
        "sequence_no": order.hold_no,
        "batch_no": "1",
        "train_date": f"{departure:%Y-%m-%d} 00:00:00",
        "coach_no": ticket.coach_no,
        "coach_name": ticket.coach_no,
        "seat_no": f"{index + 1:04d}",
        "seat_name": ticket.seat_no,
        "seat_type_code": kind.type_code,
        "seat_type_name": kind.type_name,
        "ticket_type_code": type_code,
        "ticket_type_name": type_name,
        "reserve_time": moment(booked_at),
        "limit_time": moment(booked_at),
        "pay_limit_time": deadline,
        "ticket_price": ticket.price_fen,
        "str_ticket_price_page": page_yuan(ticket.price_fen),
        "pay_mode_code": "Y",
        "ticket_status_code": ticket.status_code,
        "ticket_status_name": STATUS_NAMES[ticket.status_code],
        "start_train_date_page": departure.strftime("%Y-%m-%d %H:%M"),
    }


def pay_form(trade: CashierTrade, now: datetime, base: str) -> dict[str, Any]:
    """paycheckNew's `payForm`; `base` is the address the caller reaches us at."""
    xml = "".join(
        f"<{name}>{escape(value)}</{name}>"
        for name, value in {
            "interfaceName": "PAY_SERVLET",
            "interfaceVersion": "PAY_SERVLET",
            "orderDate": compact(now),
            "orderTimeoutDate": compact(trade.deadline),
            "orderId": trade.trade_no,
            "amount": str(trade.amount_fen),
            "appId": "0001",
            "curType": "156",
            "merURL": f"{base}/otn/payfinish/init",
            "appURL": f"{base}/otn/payfinish/init",
            "innerURL": f"{base}/otn/payfinish/init",
            "merVAR": "",
            "transType": "01",
        }.items()
    )
    tran_data = base64.encodebytes(f'<?xml version="1.0" encoding="UTF-8"?><PayReq>{xml}</PayReq>'.encode()).decode()
    return {
        "payOrderId": trade.trade_no,
        "interfaceName": "PAY_SERVLET",
        "interfaceVersion": "PAY_SERVLET",
        "tranData": tran_data,
        "merSignMsg": signature(tran_data),
        "appId": "0001",
        "transType": "01",
        "epayurl": f"{base}/pay/payGateway",
    }


def captcha_image(answer: str) -> bytes:
    """A JPEG whose comment segment holds the answer, so that a test's solver can read it."""
    comment = answer.encode()
    return b"\xff\xd8\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + b"\xff\xd9"


def signature(text: str) -> str:
    """The sandbox's own mark on what it hands out; line breaks don't count, browsers change them."""
    return hashlib.blake2b("".join(text.split()).encode(), digest_size=16).hexdigest()


def moment(at: datetime) -> str:
    """`yyyy-MM-dd HH:mm:ss` in China."""
    return at.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def compact(at: datetime) -> str:
    """`yyyyMMddHHmmss` in China."""
    return at.astimezone(CHINA).strftime("%Y%m%d%H%M%S")


def page_yuan(fen: int) -> str:
    """12306 drops a last zero: `95.5`, `1241.0`."""
    text = yuan(fen)
    return text[:-1] if text.endswith("0") else text
