"""The orders of a run: which, in what mix of 12306's behaviours, of which agents, on which accounts. All from one seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.vault import PublicKey
from producers.sdk_events import EventMaker
from schemas.am_messages import AmEvent
from schemas.orders import OrderPaid
from tests.integration.pipeline_endings import ENDINGS
from tests.integration.pipeline_orders import FARE_FEN, PASSENGERS, PRICE_FEN, SEATS, departure

AGENTS: Final = ("xcslw", "qhlxs", "bjpw", "gzcp")
OK_SHARE: Final = 0.6  # the rest is an even mix of everything that can go wrong
SHARED_SHARE: Final = 0.15  # of the fine ones: on an account that other orders use too
SHARED_ACCOUNTS: Final = 12


@dataclass(frozen=True, slots=True)
class Order:
    """An order and its hold."""

    order_no: str
    agent: str
    hold_no: str
    account: str
    password: str
    behaviour: str
    in_one_message: bool  # the request carries the order


def orders_of(seed: int, count: int) -> list[Order]:
    """`count` orders in the order they are sent; each behaviour comes up when there are enough."""
    chance = random.Random(f"orders {seed}")
    oddities = sorted(set(ENDINGS) - {"ok"})
    odd = int(count * (1 - OK_SHARE))
    behaviours = ["ok"] * (count - odd) + [oddities[n % len(oddities)] for n in range(odd)]
    chance.shuffle(behaviours)
    return [_order(number, behaviour, chance) for number, behaviour in enumerate(behaviours, 1)]


def _order(number: int, behaviour: str, chance: random.Random) -> Order:
    agent = chance.choice(AGENTS)
    order_no = f"{agent}141117{number:09d}"
    account = f"{order_no}@example.com"
    if behaviour == "ok" and chance.random() < SHARED_SHARE:
        account = f"{agent}-{chance.randrange(SHARED_ACCOUNTS)}@example.com"
    return Order(order_no, agent, f"E{number:09d}", account, f"invented-{account}", behaviour, chance.random() < 0.5)


def hold_body(order: Order, deadline_s: float) -> dict[str, Any]:
    """What the sandbox is told about the hold: three berths for 1241.00 yuan."""
    return {
        "account": order.account,
        "password": order.password,
        "held_order_no": order.hold_no,
        "train_no": "T7",
        "departure_at": departure().isoformat(),
        "from": "北京西",
        "to": "成都",
        "passengers": PASSENGERS,
        "seats": SEATS,
        "price_fen": PRICE_FEN,
        "deadline_s": deadline_s,
        "behaviour": order.behaviour,
        "force": True,
    }


class Letters:
    """The messages that AM writes about an order; sending them again means sending the same ones."""

    def __init__(self, vault_key: PublicKey) -> None:
        self._maker = EventMaker(vault_key)

    def of(self, order: Order) -> Sequence[AmEvent]:
        paid = _order_paid(order)
        request = self._maker.need_pay(
            order_no=order.order_no,
            agent=order.agent,
            account=order.account,
            password=order.password,
            held_order_no=order.hold_no,
            price_fen=PRICE_FEN,
            order=paid if order.in_one_message else None,
            event_id=f"{order.order_no}-need-pay",
        )
        if order.in_one_message:
            return [request]
        return [self._maker.order_paid(paid, event_id=f"{order.order_no}-paid"), request]


def _order_paid(order: Order) -> OrderPaid:
    moment = datetime.now(UTC).isoformat()
    return OrderPaid.model_validate_json(
        json.dumps(
            {
                "order_no": order.order_no,
                "agent": order.agent,
                "trip": "single",
                "train_no": "T7",
                "from": "北京西",
                "to": "成都",
                "departure_at": departure().isoformat(),
                "seat": {"code": "7", "price_fen": 42_800},
                "fallback_seats": [{"code": "5", "price_fen": 42_800}, {"code": "6", "price_fen": 42_800}],
                "passengers": list(PASSENGERS),
                "contact": {"name": "张三", "phone": "00000000000", "email": ""},
                "fare_fen": FARE_FEN,
                "insurance_fen": 6_000,
                "ordered_at": moment,
                "paid_at": moment,
            }
        )
    )
