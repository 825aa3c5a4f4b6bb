"""An agent's own dealings with 12306, at the sandbox: it holds seats, looks at its unpaid orders, and pays by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp

from pipeline.clock import WallClock
from pipeline.errors import UpstreamError
from pipeline.matching import SHANGHAI
from pipeline.ports import SubmitKind
from pipeline.railway.http_cashier import HttpCashier
from pipeline.railway.http_railway import HttpRailway

TIMEOUT_S: Final = 2.0
SEATS: Final = (
    {"seat": "硬卧下", "price_fen": 42_800},
    {"seat": "硬卧中", "price_fen": 41_300},
    {"seat": "硬卧上", "price_fen": 40_000},
)
PRICE_FEN: Final = 124_100


@dataclass(frozen=True, slots=True)
class Held:
    """Seats held on 12306. `pay_by` is the loop's time at which they are given up."""

    number: str
    account: str
    pay_by: float


class Counter:
    """One agent at 12306. `behaviours` and `deadlines_s` say by order number what the sandbox is to do with its hold."""

    def __init__(
        self, sandbox_url: str, password: str, behaviours: Mapping[str, str], deadlines_s: Mapping[str, float]
    ) -> None:
        self._url, self._password = sandbox_url, password
        self._behaviours, self._deadlines_s = behaviours, deadlines_s
        self._railway = HttpRailway(
            sandbox_url, cashier_url=f"{sandbox_url}/cashier", timeout_s=TIMEOUT_S, clock=WallClock()
        )
        self._cashier = HttpCashier(f"{sandbox_url}/cashier", timeout_s=TIMEOUT_S, clock=WallClock())

    async def hold(self, number: str, order: Mapping[str, Any]) -> Held:
        """Hold what QueryOrders asked for, on an account of its own; the order's JSON is all that is known of it."""
        departure = datetime.strptime(order["trainStartTime"], "%Y-%m-%d %H:%M").replace(tzinfo=SHANGHAI)
        account = f"{order['orderNo']}@example.com"
        deadline_s = self._deadlines_s.get(order["orderNo"], 600.0)
        body = {
            "account": account,
            "password": self._password,
            "held_order_no": number,
            "train_no": order["trainNo"].split("/")[0],
            "departure_at": departure.isoformat(),
            "from": order["dptStation"],
            "to": order["arrStation"],
            "passengers": [
                {
                    "name": one["name"],
                    "id_type": one["certType"],
                    "id_no": one["certNo"],
                    "ticket_type": one["ticketType"],
                }
                for one in order["passengers"]
            ],
            "seats": SEATS,
            "price_fen": PRICE_FEN,
            "deadline_s": deadline_s,
            "behaviour": self._behaviours.get(order["orderNo"], "ok"),
        }
        async with aiohttp.ClientSession() as http, http.post(f"{self._url}/sandbox/holds", json=body) as answer:
            assert answer.status == 201, await answer.text()
        return Held(number, account, asyncio.get_running_loop().time() + deadline_s)

    async def is_unpaid(self, held: Held) -> bool | None:
        """Whether it stands in the unpaid list; None where 12306 does not say."""
        try:
            session = await self._railway.login(held.account, self._password)
            try:
                return any(order.hold_no == held.number for order in await session.unpaid_orders())
            finally:
                await session.close()
        except UpstreamError:
            return None

    async def pay(self, held: Held) -> bool:
        """Pay it by hand, as somebody who looks first: only what is listed as unpaid. Whether 12306 said it is paid."""
        try:
            session = await self._railway.login(held.account, self._password)
            try:
                if not any(order.hold_no == held.number for order in await session.unpaid_orders()):
                    return False
                form = await session.payment_form(held.number)
            finally:
                await session.close()
            line = await self._cashier.open()
            try:
                answer = await line.submit(form, lambda: True)
            finally:
                await line.close()
        except UpstreamError:
            return False
        return answer.kind is SubmitKind.SENT and await self.is_unpaid(held) is False


def tickets_of(held: Held, order: Mapping[str, Any], prices: Sequence[object]) -> list[dict[str, Any]]:
    """The tickets of a CONFIRM, each price written as the client writes it."""
    codes = {"硬卧上": "5", "硬卧中": "6", "硬卧下": "7"}
    return [
        {
            "ticketNo": held.number,
            "seatType": codes[str(seat["seat"])],
            "seatNo": f"11车{place:02d}号",
            "price": price,
            "passengerName": person["name"],
            "ticketType": person["ticketType"],
            "seq": "0",
        }
        for place, (seat, person, price) in enumerate(zip(SEATS, order["passengers"], prices, strict=True), 4)
    ]
