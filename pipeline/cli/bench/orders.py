"""The orders of a bench: NEED_PAY messages with the whole order in them, as AM sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.broker.port import Outbox, Outgoing
from pipeline.broker.topology import EXCHANGE
from pipeline.cli.bench.upstreams import PEOPLE, PRICE_FEN, account_of
from pipeline.clock import WallClock
from pipeline.vault import PublicKey
from producers.sdk_events import EventMaker
from schemas.envelope import CONTENT_TYPE
from schemas.orders import OrderPaid

AGENTS: Final = tuple(f"bench{number:02d}" for number in range(50))
FARE_FEN: Final = 128_400
AT_ONCE: Final = 300  # messages published and confirmed together


def in_two_days() -> datetime:
    """When every train of the bench leaves."""
    return (datetime.now(UTC) + timedelta(days=2)).replace(hour=9, minute=10, second=0, microsecond=0)


def order_no(number: int) -> str:
    return f"bench{number:012d}"


def hold_no(number: int) -> str:
    return f"E{number:09d}"


def messages(key: PublicKey, departure_at: datetime, first: int, count: int) -> list[Outgoing]:
    """The requests of the orders `first` to `first + count - 1`, one password each, sealed."""
    maker = EventMaker(key, "bench")
    now = WallClock().now()
    made = []
    for number in range(first, first + count):
        event = maker.need_pay(
            order_no=order_no(number),
            agent=AGENTS[number % len(AGENTS)],
            account=account_of(hold_no(number)),
            password=f"invented-{number}",
            held_order_no=hold_no(number),
            price_fen=PRICE_FEN,
            order=_order(number, departure_at, now),
            asked_at=now,
            event_id=f"bench-{number}",
        )
        made.append(Outgoing(EXCHANGE, event.type, event.to_bytes(), CONTENT_TYPE))
    return made


async def publish(outbox: Outbox, made: Sequence[Outgoing], per_s: float | None = None) -> None:
    """Publish all, confirmed in rounds; `per_s` messages a second, as fast as they go unless given.

    Raises BrokerUnavailable, Unroutable.
    """
    if per_s is None:
        for start in range(0, len(made), AT_ONCE):
            await outbox.publish(made[start : start + AT_ONCE])
        return
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    while sent < len(made):
        due = min(len(made), int((loop.time() - began) * per_s) + 1)
        if due > sent:
            await outbox.publish(made[sent:due])
            sent = due
        await asyncio.sleep(max(0.0, began + sent / per_s - loop.time()))


def _order(number: int, departure_at: datetime, now: datetime) -> OrderPaid:
    return OrderPaid.model_validate(
        {
            "order_no": order_no(number),
            "agent": AGENTS[number % len(AGENTS)],
            "trip": "single",
            "train_no": "T7",
            "from": "北京西",
            "to": "成都",
            "departure_at": departure_at,
            "arrival_at": departure_at + timedelta(hours=27),
            "seat": {"code": "7", "price_fen": 42_800},
            "fallback_seats": ({"code": "5", "price_fen": 42_800}, {"code": "6", "price_fen": 42_800}),
            "passengers": tuple({"name": name, "id_type": "1", "id_no": id_no} for name, id_no, _seat in PEOPLE),
            "contact": {"name": "曹女士", "phone": "18600000000"},
            "fare_fen": FARE_FEN,
            "insurance_fen": 6_000,
            "source": "PC端",
            "ordered_at": now,
            "paid_at": now,
        }
    )
