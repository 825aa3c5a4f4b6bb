"""An agent desk on a database with one agent, its broker and its reads and writes counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sqlalchemy import text

from pipeline.agent_asks import AgentAsk
from pipeline.agent_desk import AgentDesk
from pipeline.broker.port import BrokerUnavailable, Outgoing
from pipeline.executors import ThreadExecutor
from pipeline.requests import RequestKind
from pipeline.store.engine import Store, Transaction
from pipeline.vault import KeyRing
from tests.contract.store_subjects import AGENT, LOGIN
from tests.unit.message_samples import ORDER_NO
from tests.unit.order_world import LIMITS, World, order_world

KEY = "0123456789ABCDEF0123456789ABCDEF"
PAY = AgentAsk(AGENT, ORDER_NO, RequestKind.NEED_PAY, LOGIN, None, None, None, "digest-1")


class Outbox:
    """Counts what is published; `down` and `stuck` are two ways of having no broker."""

    connected = True

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.down = False
        self.stuck: asyncio.Event | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        if self.down:
            raise BrokerUnavailable("no broker")
        self.published.extend(messages)

    async def close(self) -> None:
        """Nothing is held."""


class Desk:
    """A desk on a database with one agent."""

    def __init__(self, world: World) -> None:
        self.world, self.outbox = world, Outbox()
        self.ring = KeyRing.generate()
        self.executor = ThreadExecutor(1)
        sealed = self.ring.seal(KEY)
        world.store.write(lambda tx: tx.run(text("UPDATE agents SET merchant_key_sealed = :s"), {"s": sealed}))
        self.reads = self.writes = 0
        self.desk = AgentDesk(
            self._counted(world.store), self.executor, self.outbox, world.clock, self.ring, LIMITS, 120.0
        )

    def _counted(self, store: Store) -> Store:
        peek, write = store.peek, store.write

        def count_peek(work: Callable[[Transaction], object]) -> object:
            self.reads += 1
            return peek(work)

        def count_write(work: Callable[[Transaction], object]) -> object:
            self.writes += 1
            return write(work)

        store.peek, store.write = count_peek, count_write  # type: ignore[method-assign, assignment] # counted
        return store

    def order(self, *names: str) -> None:
        for name in names:
            self.world.hear("order.paid", order_no=name)


def with_desk(directory: Path, story: Callable[[Desk], Awaitable[None]]) -> None:
    async def run(desk: Desk) -> None:
        try:
            await story(desk)
        finally:
            await desk.desk.close()

    with order_world(directory) as world:
        desk = Desk(world)
        try:
            asyncio.run(run(desk))
        finally:
            desk.executor.close()
