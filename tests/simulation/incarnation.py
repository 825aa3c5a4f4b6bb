"""One life of a process: it can die or freeze at any touch of the outside, and nothing of it happens afterwards.

Every port a stage has is wrapped. Each call passes two points, `…:before` and `…:after`; a plan says what happens there. Death
cancels all its tasks and takes its ports away first, so that no `except` and no `finally` can tidy up: a `kill -9`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TypeVar

from pipeline.broker.port import Delivery, Outgoing
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
from tests.simulation.virtual_broker import VirtualInbox, VirtualOutbox

T = TypeVar("T")

DIE = "die"
Act = str | float | Exception | None  # die, freeze for seconds, raise, go on
Plan = Callable[[str, str], Act]  # (stage, point) -> what happens there


class ProcessDied(BaseException):
    """Raised into whatever the dead process was doing; no code of the product catches it."""


_life: ContextVar[Incarnation | None] = ContextVar("life", default=None)


def task_factory(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Tasks belong to the incarnation whose code made them."""
    task = asyncio.Task(coro, loop=loop, **options)
    life = _life.get()
    if life is not None:
        life.tasks.add(task)
        task.add_done_callback(life.ended)
    return task


class Incarnation:
    """`died` is called once, at its death."""

    def __init__(self, stage: str, worker: str, plan: Plan, died: Callable[[Incarnation], None]) -> None:
        self.stage, self.worker = stage, worker
        self.tasks: set[asyncio.Task[Any]] = set()
        self.dead = False
        self.points: list[str] = []  # the points it passed
        self.subject = ""  # the account or order that the point is about, where there is one
        self._plan, self._died = plan, died
        self._frozen_until = 0.0

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a part of this process."""
        token = _life.set(self)
        try:
            return asyncio.get_running_loop().create_task(coro)
        finally:
            _life.reset(token)

    def ended(self, task: asyncio.Task[Any]) -> None:
        """A task is over; one that ended in death takes the process along."""
        self.tasks.discard(task)
        if not task.cancelled() and isinstance(task.exception(), ProcessDied):
            self.kill()

    def freeze(self, seconds: float) -> None:
        """The process stands still (a pause of the machine), then goes on as if nothing had been."""
        self._frozen_until = max(self._frozen_until, asyncio.get_running_loop().time() + seconds)

    @property
    def frozen(self) -> bool:
        return asyncio.get_running_loop().time() < self._frozen_until

    def kill(self) -> None:
        """Dead at once, without any cleanup."""
        if self.dead:
            return
        self.dead = True
        for task in list(self.tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self._died(self)

    def at_once(self, point: str) -> None:
        """Pass a point that can't wait."""
        if self.dead:
            raise ProcessDied(self.worker)
        self.points.append(point)
        act = self._plan(self.stage, point)
        if act == DIE:
            self.kill()
            raise ProcessDied(self.worker)
        if isinstance(act, Exception):
            raise act
        if isinstance(act, float):
            self.freeze(act)

    async def at(self, point: str) -> None:
        self.at_once(point)
        while self.frozen:
            await asyncio.sleep(self._frozen_until - asyncio.get_running_loop().time())
        if self.dead:
            raise ProcessDied(self.worker)

    async def around(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """A call with its two points."""
        try:
            await self.at(f"{name}:before")
        except BaseException:
            call.close()
            raise
        value = await call
        await self.at(f"{name}:after")
        return value


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

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._life.at_once("ack:before")
        self.inner.ack(deliveries)
        self._life.at_once("ack:after")

    async def close(self) -> None:
        await self.inner.close()


class Outbox:
    def __init__(self, life: Incarnation, inner: VirtualOutbox) -> None:
        self._life, self._inner = life, inner

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
        self.skew_s = inner.skew_s

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
        return await self._life.around("submit", self._inner.submit(form, still_ours))

    async def close(self) -> None:
        await self._inner.close()


class Caller:
    """`AgentCaller`."""

    def __init__(self, life: Incarnation, inner: AgentCaller) -> None:
        self._life, self._inner = life, inner

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        self._life.subject = body.decode()
        return await self._life.around("callback", self._inner.post(url, body, headers))
