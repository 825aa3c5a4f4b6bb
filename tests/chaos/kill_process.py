"""The product's own `daifu worker STAGE` and `daifu relay`, with every port wrapped so that they can die by their own SIGKILL.

Nothing of the product is changed: what its composition root opens (database, broker, 12306, cashier, agents) is handed on
wrapped, by the wrappers of the simulation where they fit. The plan names a point and the how-manieth pass of it is the last;
points count once the file `armed` exists. Each pass is written to `passed`, the death to `died`, before it is died.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import amqp
from sqlalchemy import event

from pipeline.broker import buffered
from pipeline.broker.port import Broker, Delivery, Inbox, Outbox
from pipeline.cli import main, parts, worker
from pipeline.cli.house import House, agent_caller, open_house, railway_of
from pipeline.cli.simulation.incarnation import DIE, Act, Incarnation, current_call
from pipeline.cli.simulation.touched_ports import Caller, Line, Sessions, Till
from pipeline.executors import ThreadExecutor
from pipeline.ports import AgentCaller, Cashier, CashierLine, PaymentForm, Railway, SubmitAnswer
from pipeline.settings import Settings
from pipeline.store.engine import Done, Store, Transaction
from tests.integration.pipeline_process import request

T = TypeVar("T")
LOOK_S = 0.01


@dataclass(frozen=True)
class Plan:
    """Where to die, and the files that parent and child talk by. An empty point: only record."""

    point: str
    nth: int
    from_start: bool  # count from the first line on, not from the arming
    folder: str

    def file(self, name: str) -> Path:
        return Path(self.folder) / name


class Mortal(Incarnation):
    """A life that ends by a real SIGKILL, from whichever thread passes the point."""

    def __init__(self, stage: str, plan: Plan) -> None:
        super().__init__(stage, f"{stage}:{os.getpid()}", self._act, lambda _life: None)
        self._wanted = plan
        self._passes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._record = plan.file("passed").open("a", encoding="utf-8")
        self._armed = plan.from_start

    def _act(self, _stage: str, point: str) -> Act:
        self._armed = self._armed or self._wanted.file("armed").exists()
        if not self._armed:
            return None
        with self._lock:
            self._passes[point] += 1
            self._record.write(f"{point}\n")
            self._record.flush()
            return DIE if (point, self._passes[point]) == (self._wanted.point, self._wanted.nth) else None

    def kill(self) -> None:
        self._wanted.file("died").write_text(f"{self._wanted.point} #{self._wanted.nth}", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)


class MortalExecutor(ThreadExecutor):
    """`…tx:before`, `…tx:commit` (every statement is done, COMMIT is not sent) and `…tx:after`."""

    def __init__(self, life: Mortal, inner: ThreadExecutor, store: Store) -> None:
        self._life, self._inner = life, inner
        self._doing = threading.local()
        event.listen(store.engine, "commit", self._commits)

    def _commits(self, _connection: Any) -> None:
        name = getattr(self._doing, "name", "")
        if name:
            self._life.at_once(f"{name}:commit")

    async def run(self, work: Callable[[], T]) -> T:
        name = _transaction_name(work)

        def named() -> T:
            self._doing.name = name
            try:
                return work()
            finally:
                self._doing.name = ""

        async def inner() -> T:
            return await self._inner.run(named)

        return await self._life.around(name, inner())

    def close(self) -> None:
        self._inner.close()


def _transaction_name(work: Callable[[], Any]) -> str:
    """After the class that runs it; one of the relay also after its act, and whether it only reads."""
    parts_of_name = getattr(work, "__qualname__", "").split(".")
    if parts_of_name[0] != "Relay":
        return f"{parts_of_name[0]}.tx"
    frame = sys._getframe(1)
    while frame.f_code.co_name in ("run", "_write", "_read", "_each") and frame.f_back is not None:
        frame = frame.f_back
    return f"Relay.{frame.f_code.co_name}{parts_of_name[1]}.tx"


class MortalInbox:
    def __init__(self, life: Mortal, inner: Inbox) -> None:
        self._life, self._inner = life, inner

    @property
    def connected(self) -> bool:
        return self._inner.connected

    async def take(self, most: int) -> list[Delivery]:
        return await self._life.around("take", self._inner.take(most))

    async def gathered(self, count: int) -> None:
        await self._inner.gathered(count)

    def ack(self, deliveries: Any) -> None:
        self._life.at_once("ack:before")
        self._inner.ack(deliveries)
        self._life.at_once("ack:after")

    async def close(self) -> None:
        await self._inner.close()


class MortalOutbox:
    def __init__(self, life: Mortal, inner: Outbox) -> None:
        self._life, self._inner = life, inner

    @property
    def connected(self) -> bool:
        return self._inner.connected

    async def publish(self, messages: Any) -> None:
        await self._life.around("publish", self._inner.publish(messages))

    async def close(self) -> None:
        await self._inner.close()


class MortalBroker:
    def __init__(self, life: Mortal, inner: Broker) -> None:
        self._life, self._inner = life, inner

    def inbox(self, queue: str, prefetch: int) -> Inbox:
        return MortalInbox(self._life, self._inner.inbox(queue, prefetch))

    def outbox(self) -> Outbox:
        return MortalOutbox(self._life, self._inner.outbox())

    async def close(self) -> None:
        await self._inner.close()


class MortalTill(Till):
    """`submit:received`: the cashier has journalled the form and its answer is still to come."""

    def __init__(self, life: Mortal, inner: Cashier, sandbox: str) -> None:
        super().__init__(life, inner)
        self._sandbox = sandbox

    async def open(self) -> CashierLine:
        return _WatchedLine(self._life, await self._life.around("open", self._inner.open()), self._sandbox)


class _WatchedLine(Line):
    def __init__(self, life: Incarnation, inner: CashierLine, sandbox: str) -> None:
        super().__init__(life, inner)
        self._sandbox = sandbox
        self._answered = threading.Event()

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        threading.Thread(target=self._watch, args=(form.hold_no,), daemon=True).start()
        try:
            return await super().submit(form, still_ours)
        finally:
            self._answered.set()

    def _watch(self, hold_no: str) -> None:
        """Asks the sandbox, by a way of its own, until it has the form."""
        while not self._answered.wait(LOOK_S):
            _status, hold = request(f"{self._sandbox}/sandbox/holds/{hold_no}")
            if hold["pays"]:
                self._life.at_once("submit:received")
                return


class _BeatStore(Store):
    """The heartbeat's own connection."""

    def __init__(self, life: Mortal, inner: Store) -> None:
        super().__init__(inner.engine, inner.clock, inner.patience_s)
        self._life = life

    def write(self, work: Callable[[Transaction], T]) -> Done[T]:
        self._life.at_once("heartbeat:before")
        done = super().write(work)
        self._life.at_once("heartbeat:after")
        return done


class MortalHouse(House):
    """What the product opened, wrapped."""

    def __init__(self, life: Mortal, inner: House) -> None:
        executor = MortalExecutor(life, inner.executor, inner.store)
        super().__init__(inner.settings, inner.store, executor, MortalBroker(life, inner.broker))
        self.life = life

    def heartbeat_store(self) -> Store:
        return _BeatStore(self.life, super().heartbeat_store())


def wrap(life: Mortal) -> None:
    """Hand everything on wrapped that the composition root opens."""

    def railway(settings: Settings, clock: Any) -> tuple[Railway, Cashier]:
        known, cashier = railway_of(settings, clock)
        return Sessions(life, known), MortalTill(life, cashier, str(settings.railway_url))

    def caller(settings: Settings) -> AgentCaller:
        return Caller(life, agent_caller(settings))

    def opened(*given: Any, **how: Any) -> House:
        return MortalHouse(life, open_house(*given, **how))

    vars(worker).update(open_house=opened, railway_of=railway)
    vars(parts).update(agent_caller=caller)
    _wrap_http(life)
    _wrap_amqp(life)


def _wrap_http(life: Mortal) -> None:
    """`NAME:sent`: the request is with the kernel; `NAME:received`: the answer begins to arrive, nothing of it was read."""
    trace = aiohttp.TraceConfig()

    async def sent(*_args: object) -> None:
        life.at_once(f"{current_call()}:sent")

    async def received(*_args: object) -> None:
        life.at_once(f"{current_call()}:received")

    trace.on_request_chunk_sent.append(sent)
    trace.on_request_headers_sent.append(sent)
    trace.on_request_end.append(received)
    trace.freeze()
    begin = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, *args: Any, **options: Any) -> None:
        begin(self, *args, **{"trace_configs": [trace]} | options)

    aiohttp.ClientSession.__init__ = traced  # type: ignore[method-assign] # the library's boundary, not the product's


def _wrap_amqp(life: Mortal) -> None:
    """`publish:sent`: the message is with the library; `publish:confirmed`: the broker has it, we have not been told."""
    publish, confirm_select = buffered.publish, amqp.Channel.confirm_select

    def published(channel: Any, message: Any, exchange: str, routing_key: str) -> None:
        publish(channel, message, exchange, routing_key)
        life.at_once("publish:sent")

    def selected(self: Any, *args: Any, **options: Any) -> Any:
        value = confirm_select(self, *args, **options)
        self.events["basic_ack"].add(lambda *_confirm: life.at_once("publish:confirmed"))
        return value

    buffered.publish = published
    amqp.Channel.confirm_select = selected


def live(plan: Plan, arguments: list[str]) -> None:
    """Be this `daifu` process, and die where the plan says. Ends in SystemExit."""
    wrap(Mortal(arguments[-1], plan))
    main(arguments)
