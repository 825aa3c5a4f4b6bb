"""One example of every message and form, with invented people, numbers and keys: the documents show them, tests read them."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

ORDER_NO = "demo141117203122003"
HOLD_NO = "E123456789"
AT = "2014-11-17T20:31:22+08:00"

_TICKET: Json = {
    "ticket_no": HOLD_NO,
    "seat_type": "7",
    "seat_no": "11车04号下铺",
    "price_fen": 41_300,
    "passenger_name": "张三",
    "ticket_type": "1",
    "seq": "0",
}
ORDER: Json = {
    "order_no": ORDER_NO,
    "agent": "demo",
    "trip": "single",
    "train_no": "T7",
    "from": "北京西",
    "to": "成都",
    "departure_at": "2014-11-29T17:10:00+08:00",
    "arrival_at": "2014-11-30T19:20:00+08:00",
    "seat": {"code": "7", "price_fen": 42_800},
    "fallback_seats": [{"code": "5", "price_fen": 42_800}, {"code": "6", "price_fen": 42_800}],
    "passengers": [{"name": "张三", "id_type": "1", "id_no": "000000190001010000", "ticket_type": "1"}],
    "contact": {"name": "张三", "phone": "00000000000", "email": ""},
    "fare_fen": 42_800,
    "insurance_fen": 2_000,
    "source": "PC端",
    "ordered_at": AT,
    "paid_at": AT,
}
_ABOUT: Json = {"order_no": ORDER_NO, "agent": "demo"}
MESSAGES: dict[str, Json] = {
    "order.paid": ORDER,
    "purchase.need_pay": {
        **_ABOUT,
        "account": "agent_user01",
        "held_order_no": HOLD_NO,
        "price_fen": 41_300,
        "tickets": [_TICKET],
    },
    "purchase.confirmed": {**_ABOUT, "account": "agent_user01", "tickets": [_TICKET]},
    "purchase.no_ticket": {**_ABOUT, "reason": "1", "comment": "无票"},
    "refund.requested": {**_ABOUT, "requested_at": AT},
    "refund.closed": {**_ABOUT, "granted": True},
    "refund.arrived": {**_ABOUT, "refund_id": "refund-1", "amount_fen": 41_300},
}
RESULT: Json = {
    **_ABOUT,
    "generation": 1,
    "held_order_no": HOLD_NO,
    "state": "settled",
    "outcome": "purchased",
    "reason": None,
    "err_code": None,
    "paid_fen": 41_300,
    "unfrozen_fen": 41_300,
    "partial_refund_fen": 1_500,
    "tickets": [_TICKET],
    "seq": 3,
    "at": AT,
}
_NOTHING_PAID: Json = {"paid_fen": 0, "unfrozen_fen": 0, "partial_refund_fen": 0, "tickets": []}
_RESULTS: dict[str, Json] = {
    "purchase.accepted": {**_NOTHING_PAID, "state": "accepted", "outcome": None, "seq": 1},
    "purchase.refused": {**_NOTHING_PAID, "generation": 0, "state": None, "outcome": None, "err_code": "207", "seq": 1},
    "purchase.purchased": {"state": "purchased", "unfrozen_fen": 0, "partial_refund_fen": 0, "seq": 2},
    "purchase.held_unpaid": {
        **_NOTHING_PAID,
        "state": "held_unpaid",
        "outcome": "held_unpaid",
        "reason": "wrong_password",
        "seq": 2,
    },
    "purchase.paid_abnormal": {
        **_NOTHING_PAID,
        "state": "paid_abnormal",
        "outcome": "paid_abnormal",
        "reason": "not_issued",
        "paid_fen": 41_300,
        "seq": 2,
    },
    "purchase.settled": {},
    "purchase.refunded": {
        **_NOTHING_PAID,
        "state": "refunded",
        "outcome": "paid_abnormal",
        "reason": "not_issued",
        "paid_fen": 41_300,
    },
}


def event(kind: str) -> Json:
    """The CloudEvent that AM sends for this type."""
    return {
        "specversion": "1.0",
        "id": f"{ORDER_NO}:{kind}",
        "source": "am",
        "type": kind,
        "subject": ORDER_NO,
        "time": AT,
        "datacontenttype": "application/json",
        "data": MESSAGES[kind],
    }


def result_event(kind: str) -> Json:
    """The CloudEvent that AM gets."""
    data = RESULT | _RESULTS[kind]
    name = f"{ORDER_NO}:{data['generation']}:{kind}"
    return {**event("order.paid"), "id": name, "source": "daifu", "type": kind, "data": data}


# -- the agents' interface, with the key and the order that the interface's test vectors use -----------------------

KEY = "0123456789ABCDEF0123456789ABCDEF"
TTS_ORDER_NO = "demo140221160433005636"
TICKETS = json.dumps(
    {
        "count": 1,
        "tickets": [
            {
                "seq": "0",
                "ticketNo": HOLD_NO,
                "seatType": "4",
                "seatNo": "05车02C号",
                "price": 651,
                "passengerName": "张三",
                "ticketType": "1",
            }
        ],
    },
    ensure_ascii=False,
    separators=(",", ":"),
)
PEOPLE = json.dumps(
    [{"certNo": "000000190001010000", "certType": "1", "name": "张三", "ticketType": "1", "reason": "1"}],
    ensure_ascii=False,
    separators=(",", ":"),
)
_PURCHASE = {"merchantCode": "demo", "orderNo": TTS_ORDER_NO}
FORMS: dict[str, dict[str, str]] = {
    "NEED_PAY": {
        **_PURCHASE,
        "opt": "NEED_PAY",
        "un": "agent_user01",
        "pw": "Passw0rd",
        "comment": "代付请求",
    },
    "NEED_PAY, 带占座结果, 密码已在后台设置": {
        **_PURCHASE,
        "opt": "NEED_PAY",
        "result": TICKETS,
        "un": "agent_user01",
        "comment": "代付请求",
    },
    "CONFIRM": {**_PURCHASE, "opt": "CONFIRM", "result": TICKETS, "un": "agent_user01", "comment": "已经出票成功"},
    "NO_TICKET": {
        **_PURCHASE,
        "opt": "NO_TICKET",
        "reason": "6",
        "passengerReason": PEOPLE,
        "comment": "12306乘客身份信息核验失败",
    },
    "ProcessGoPay": {**_PURCHASE, "price": "651.0", "un": "agent_user01"},
    "QueryOrders WAIT_TICKET": {"merchantCode": "demo", "type": "WAIT_TICKET"},
    "QueryOrders APPLY_REFUND": {"merchantCode": "demo", "type": "APPLY_REFUND"},
    "代付结果": {**_PURCHASE, "payStatus": "1"},
}
