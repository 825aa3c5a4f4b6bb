"""Every port a stage has, wrapped: each call passes points of its incarnation (see `incarnation.py`).

NAME:before    nothing of the call has happened
NAME:received  once for each request of a call to 12306, the cashier or an agent: it was received and is on the other
               side's disk, nothing of its answer was read
NAME:after     answered, confirmed, committed; nobody in the process knows it yet
submit:checked the guard has said yes; the next thing is the first byte
publish:sent   once for each message: the broker has it, nothing is confirmed
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from pipeline.broker.port import Delivery, Outgoing
from pipeline.cli.simulation.incarnation import Incarnation, current_call
from pipeline.cli.simulation.virtual_broker import VirtualInbox, VirtualOutbox
from pipeline.executors import InlineExecutor
from pipeline.ports import (
    AgentCaller,
    CallbackAnswer,
    Cashier,
    CashierLine,
    PaymentForm,
    Railway,
    RailwayOrder,
    RailwaySession,
    SubmitAnswer,
    Trade,
)
from pipeline.railway.sandbox.world import World

T = TypeVar("T")


class WatchedWorld(World):
    """The sandbox as one process meets it: the same world, and a point after each request that it has received."""

    def __init__(self, life: Incarnation, inner: World) -> None:
        self.__dict__.update(vars(inner))
        self._life = life

    async def synced(self) -> None:
        await super().synced()
        await self._life.at(f"{current_call()}:received")


class Executor(InlineExecutor):
    """Points are named after the class that runs the transaction: `IntentWriter.tx`, `Login.tx`, `CallRunner.tx` …"""

    def __init__(self, life: Incarnation, writes: Callable[[str], None] = lambda _owner: None) -> None:
        self._life, self._writes = life, writes

    async def run(self, work: Callable[[], T]) -> T:
        owner = getattr(work, "__qualname__", "").split(".")[0]
        return await self._life.around(f"{owner}.tx", self._run(owner, work))

    async def _run(self, owner: str, work: Callable[[], T]) -> T:
        self._writes(owner)
        return await super().run(work)


class Inbox:
    def __init__(self, life: Incarnation, inner: VirtualInbox) -> None:
        self._life, self.inner = life, inner

    @property
    def connected(self) -> bool:
        return self.inner.connected

    async def take(self, most: int) -> list[Delivery]:
        return await self._life.around("take", self.inner.take(most))

    async def gathered(self, count: int) -> None:
        await self.inner.gathered(count)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._life.at_once("ack:before")
        self.inner.ack(deliveries)
        self._life.at_once("ack:after")

    async def close(self) -> None:
        await self.inner.close()


class Outbox:
    def __init__(self, life: Incarnation, inner: VirtualOutbox) -> None:
        self._life, self._inner = life, inner
        inner.arrived = lambda: life.at_once("publish:sent")

    @property
    def connected(self) -> bool:
        return self._inner.connected

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        await self._life.around("publish", self._inner.publish(messages))

    async def close(self) -> None:
        await self._inner.close()


class Sessions:
    """`Railway` and its sessions."""

    def __init__(self, life: Incarnation, inner: Railway) -> None:
        self._life, self._inner = life, inner

    async def login(self, login: str, password: str) -> RailwaySession:
        self._life.subject = login
        return Session(self._life, await self._life.around("login", self._inner.login(login, password)))

    async def probe(self) -> None:
        await self._life.around("railway_probe", self._inner.probe())


class Session:
    def __init__(self, life: Incarnation, inner: RailwaySession) -> None:
        self._life, self._inner = life, inner
        self.skew_s = inner.skew_s - life.clock_ahead_s

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        return await self._life.around("look", self._inner.unpaid_orders())

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        return await self._life.around("find", self._inner.find_order(hold_no, around=around))

    async def payment_form(self, hold_no: str) -> PaymentForm:
        return await self._life.around("form", self._inner.payment_form(hold_no))

    async def close(self) -> None:
        await self._inner.close()


class Till:
    """`Cashier` and its lines."""

    def __init__(self, life: Incarnation, inner: Cashier) -> None:
        self._life, self._inner = life, inner

    async def open(self) -> CashierLine:
        return Line(self._life, await self._life.around("open", self._inner.open()))

    async def trade(self, trade_no: str) -> Trade:
        return await self._life.around("trade", self._inner.trade(trade_no))

    async def probe(self) -> None:
        await self._life.around("cashier_probe", self._inner.probe())


class Line:
    def __init__(self, life: Incarnation, inner: CashierLine) -> None:
        self._life, self._inner = life, inner

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        def checked() -> bool:
            ours = still_ours()
            self._life.at_once("submit:checked")
            return ours

        return await self._life.around("submit", self._inner.submit(form, checked))

    async def close(self) -> None:
        await self._inner.close()


class Caller:
    """`AgentCaller`."""

    def __init__(self, life: Incarnation, inner: AgentCaller) -> None:
        self._life, self._inner = life, inner

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        self._life.subject = body.decode()
        return await self._life.around("callback", self._inner.post(url, body, headers))
