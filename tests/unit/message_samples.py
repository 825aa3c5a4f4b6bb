"""The sample order of the source document as messages; names and numbers of people are invented."""

from __future__ import annotations

import json
from typing import Any

ORDER_NO = "xcslw141117203122003"
AT = "2014-11-17T20:31:22+08:00"
SEALED = "k1." + "A" * 80

ORDER: dict[str, Any] = {
    "order_no": ORDER_NO,
    "agent": "xcslw",
    "trip": "single",
    "train_no": "T7",
    "from": "北京西",
    "to": "成都",
    "departure_at": "2014-11-29T17:10:00+08:00",
    "seat": {"code": "7", "price_fen": 42800},
    "fallback_seats": [{"code": "5", "price_fen": 42800}, {"code": "6", "price_fen": 42800}],
    "passengers": [{"name": "张三", "id_type": "1", "id_no": "000000190001010000", "ticket_type": "1"}],
    "contact": {"name": "张三", "phone": "00000000000", "email": ""},
    "fare_fen": 128400,
    "insurance_fen": 6000,
    "insurance_no": None,
    "appointment": None,
    "source": "PC端",
    "ordered_at": AT,
    "paid_at": AT,
}
TICKET: dict[str, Any] = {
    "ticket_no": "E646076788",
    "seat_type": "7",
    "seat_no": "11车04号下铺",
    "price_fen": 41300,
    "passenger_name": "张三",
    "ticket_type": "1",
    "seq": "0",
}
NEED_PAY: dict[str, Any] = {
    "order_no": ORDER_NO,
    "agent": "xcslw",
    "account": "agent_user01",
    "password_sealed": SEALED,
    "held_order_no": "E646076788",
    "price_fen": 124100,
    "tickets": [TICKET],
}
DATA: dict[str, dict[str, Any]] = {
    "order.paid": ORDER,
    "purchase.need_pay": NEED_PAY,
    "purchase.confirmed": {"order_no": ORDER_NO, "agent": "xcslw", "account": "agent_user01", "tickets": [TICKET]},
    "purchase.no_ticket": {"order_no": ORDER_NO, "agent": "xcslw", "reason": "1", "comment": "无票"},
    "refund.requested": {"order_no": ORDER_NO, "agent": "xcslw", "requested_at": AT},
    "refund.closed": {"order_no": ORDER_NO, "agent": "xcslw", "granted": True},
    "refund.arrived": {"order_no": ORDER_NO, "agent": "xcslw", "refund_id": "r-1", "amount_fen": 41300},
}


def event(kind: str, data: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    """A CloudEvent of that type around `data` (the sample by default); an attribute of None is left out."""
    whole = {
        "specversion": "1.0",
        "id": "0001",
        "source": "am",
        "type": kind,
        "subject": ORDER_NO,
        "time": AT,
        "datacontenttype": "application/json",
        "data": DATA[kind] if data is None else data,
    } | attributes
    return {name: value for name, value in whole.items() if value is not None}


def body(kind: str, data: dict[str, Any] | None = None, **attributes: Any) -> bytes:
    return json.dumps(event(kind, data, **attributes), ensure_ascii=False).encode()
