"""12306, the cashier and the agents of a bench, inside the process: they answer at once, or after a set time.

They know every hold by its number, keep what they were asked to do, and so are witnesses of their own: how often money was
taken for each hold, how often each agent was told. A hold's account is its number at `bench.example`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from pipeline.ports import (
    CallbackAnswer,
    CashierLine,
    Clock,
    PaymentForm,
    RailwayOrder,
    RailwaySession,
    RailwayTicket,
    SubmitAnswer,
    SubmitKind,
    Trade,
    TradeState,
)

DOMAIN: Final = "@bench.example"
WARM_UP: Final = 64  # the first orders of a bench: through the whole chain before the clock starts
PRICES_FEN: Final = (42_800, 41_300, 40_000)
PRICE_FEN: Final = sum(PRICES_FEN)
HOLD_FOR: Final = timedelta(minutes=40)
#: Name, ID number and berth of each ticket; the order's message says the same.
PEOPLE: Final = (
    ("国贺", "123456198910100011", "硬卧下"),
    ("蔡博文", "123456198910100038", "硬卧中"),
    ("陈硕", "123456198910100054", "硬卧上"),
)


def hold_of(account: str) -> str:
    """The hold number of a bench account."""
    return account.removesuffix(DOMAIN).upper()


def account_of(hold_no: str) -> str:
    return f"{hold_no.lower()}{DOMAIN}"


@dataclass(slots=True)
class Witness:
    """What the upstreams saw: money taken by hold, callbacks by order and payStatus, most payments at once."""

    taken: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    most_in_flight: int = 0
    in_flight: int = 0

    def entered(self, hold_no: str) -> None:
        if int(hold_no[1:]) >= WARM_UP:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def left(self, hold_no: str) -> None:
        if int(hold_no[1:]) >= WARM_UP:
            self.in_flight -= 1

    def save(self, path: Path) -> None:
        kept = {"taken": self.taken, "told": self.told, "most_in_flight": self.most_in_flight}
        path.write_text(json.dumps(kept), "utf-8")

    def add(self, path: Path) -> None:
        """Add what another process saw."""
        seen = json.loads(path.read_text("utf-8"))
        self.taken.update(seen["taken"])
        self.told.update(seen["told"])
        self.most_in_flight += seen["most_in_flight"]


class Railway:
    """`ports.Railway` where every account holds one order, the one its name tells."""

    def __init__(self, witness: Witness, clock: Clock, departure_at: datetime) -> None:
        self._witness, self._clock, self._departure_at = witness, clock, departure_at

    async def login(self, login: str, password: str) -> RailwaySession:
        hold_no = hold_of(login)
        self._witness.entered(hold_no)
        return _Session(self._witness, self._clock, self._departure_at, hold_no)

    async def probe(self) -> None:
        """Always there."""


class _Session:
    skew_s = 0.0

    def __init__(self, witness: Witness, clock: Clock, departure_at: datetime, hold_no: str) -> None:
        self._witness, self._clock, self._departure_at, self._hold_no = witness, clock, departure_at, hold_no
        self._open = True

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        return () if self._witness.taken[self._hold_no] else (self._order("i"),)

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        return self._order("a") if self._witness.taken[hold_no] else None

    async def payment_form(self, hold_no: str) -> PaymentForm:
        deadline = self._clock.now() + HOLD_FOR
        return PaymentForm(hold_no, f"T{hold_no}", PRICE_FEN, deadline, (("ord_id_ext", f"T{hold_no}"),))

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._witness.left(self._hold_no)

    def _order(self, status: str) -> RailwayOrder:
        deadline = self._clock.now() + HOLD_FOR if status == "i" else None
        return RailwayOrder(
            self._hold_no, "T7", self._departure_at, "北京西", "成都", _tickets(status), PRICE_FEN, deadline
        )


@cache  # what upstreams cost is no part of what is measured
def _tickets(status: str) -> tuple[RailwayTicket, ...]:
    return tuple(
        RailwayTicket(name, "1", id_no, seat, "11", f"{place:02d}号", "1", price, status)
        for place, ((name, id_no, seat), price) in enumerate(zip(PEOPLE, PRICES_FEN, strict=True), 1)
    )


class Cashier:
    """`ports.Cashier`; a submit takes `pay_s` seconds."""

    def __init__(self, witness: Witness, pay_s: float) -> None:
        self._witness, self._pay_s = witness, pay_s

    async def open(self) -> CashierLine:
        return _Line(self._witness, self._pay_s)

    async def trade(self, trade_no: str) -> Trade:
        paid = self._witness.taken[trade_no.removeprefix("T")]
        return Trade(TradeState.PAID, PRICE_FEN) if paid else Trade(TradeState.NONE, 0)

    async def probe(self) -> None:
        """Always there."""


class _Line:
    def __init__(self, witness: Witness, pay_s: float) -> None:
        self._witness, self._pay_s = witness, pay_s

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        if not still_ours():
            return SubmitAnswer(SubmitKind.NOT_SENT, "the intent is too old")
        if self._pay_s:
            await asyncio.sleep(self._pay_s)
        self._witness.taken[form.hold_no] += 1
        return SubmitAnswer(SubmitKind.SENT, "200")

    async def close(self) -> None:
        """Nothing is held."""


class Agents:
    """`ports.AgentCaller`; every agent says yes after `callback_s` seconds."""

    def __init__(self, witness: Witness, callback_s: float) -> None:
        self._witness, self._callback_s = witness, callback_s

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        if self._callback_s:
            await asyncio.sleep(self._callback_s)
        form = dict(pair.split("=", 1) for pair in body.decode().split("&"))  # both values are letters and digits
        self._witness.told[f"{form['orderNo']} {form['payStatus']}"] += 1
        return CallbackAnswer(delivered=True, status=200, answer='{"ret":true}')
