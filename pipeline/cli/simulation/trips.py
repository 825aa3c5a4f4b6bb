"""Orders and holds for simulations: the source document's sample, with invented people."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pipeline.cli.simulation.virtual_clock import START
from schemas.orders import OrderPaid

AGENT = "xcslw"
SAMPLE = "xcslw141117203122003"
KEY = "K" * 32  # invented
WEBHOOK_SECRET = "whsec_" + "QUJD" * 8
DEPARTURE = (START + timedelta(days=12)).replace(second=0)
FARE_FEN, PRICE_FEN = 128_400, 124_100
TOP_UP_FEN = 10_000_000
HOLD_S = 1800.0

PASSENGERS = (
    {"name": "张三", "id_type": "1", "id_no": "000000190001010000", "ticket_type": "1"},
    {"name": "李四", "id_type": "1", "id_no": "000000190002020000", "ticket_type": "1"},
    {"name": "王五", "id_type": "1", "id_no": "000000190003030000", "ticket_type": "1"},
)
SEATS = (
    {"seat": "硬卧下", "price_fen": 42_800},
    {"seat": "硬卧中", "price_fen": 41_300},
    {"seat": "硬卧上", "price_fen": 40_000},
)


def order_paid(order_no: str = SAMPLE, **changes: Any) -> OrderPaid:
    """The user paid 1284.00 yuan for three berths."""
    moment = START.isoformat()
    data: dict[str, Any] = {
        "order_no": order_no,
        "agent": AGENT,
        "trip": "single",
        "train_no": "T7",
        "from": "北京西",
        "to": "成都",
        "departure_at": DEPARTURE.isoformat(),
        "seat": {"code": "7", "price_fen": 42_800},
        "fallback_seats": [{"code": "5", "price_fen": 42_800}, {"code": "6", "price_fen": 42_800}],
        "passengers": list(PASSENGERS),
        "contact": {"name": "张三", "phone": "00000000000", "email": ""},
        "fare_fen": FARE_FEN,
        "insurance_fen": 6_000,
        "ordered_at": moment,
        "paid_at": moment,
    }
    return OrderPaid.model_validate_json(json.dumps(data | changes))


def hold_body(hold_no: str, account: str, password: str, behaviour: str, **changes: Any) -> dict[str, Any]:
    """The body of POST /sandbox/holds: 1241.00 yuan, to be paid within 30 minutes."""
    body: dict[str, Any] = {
        "account": account,
        "password": password,
        "held_order_no": hold_no,
        "train_no": "T7",
        "departure_at": DEPARTURE.isoformat(),
        "from": "北京西",
        "to": "成都",
        "passengers": list(PASSENGERS),
        "seats": list(SEATS),
        "price_fen": PRICE_FEN,
        "deadline_s": HOLD_S,
        "behaviour": behaviour,
    }
    return body | changes


def ticket(hold_no: str) -> dict[str, Any]:
    """A ticket as an agent reports it."""
    return {"ticket_no": hold_no, "seat_type": "7", "seat_no": "11车04号下铺", "price_fen": 42_800}
