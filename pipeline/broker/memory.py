"""The same ports inside one process, over kombu's `memory://`: the embedded default.

This transport has no redelivery after a death, no returns, no confirms and no dead-letter exchange. None is needed: a
message lost with its process comes back because the relay publishes its work row again. Queues and bindings belong to the
process, not to a connection, so `close` empties them.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Sequence
from typing import Any, Final

import kombu

from pipeline.broker.consumer import Arrivals
from pipeline.broker.declare import declare
from pipeline.broker.port import BrokerUnavailable, Delivery, Outgoing
from pipeline.broker.topology import AM_QUEUE, EVENTS, TOPOLOGY

#: Half typed: to mypy it is untyped.
_kombu: Final[Any] = kombu

#: Seconds between looks into an empty queue: 3.8 % of a core for five idle stages (kombu's own default is 1.0).
POLLING_S: Final = 0.01
#: Seconds until an idle consumer looks whether it is to close.
GLANCE_S: Final = 0.02
#: Nobody outside can read `daifu.am` here; the newest are kept for a look, the rest would fill memory.
AM_KEPT: Final = 1_000


def _connection() -> Any:
    return _kombu.Connection("memory://", transport_options={"polling_interval": POLLING_S})


class MemoryOutbox:
    """`port.Outbox`: a message is in its queue when `publish` returns. From one thread at a time."""

    def __init__(self) -> None:
        self._connection = _connection()
        self._channel = self._connection.channel()
        self._producer = _kombu.Producer(self._channel, auto_declare=False)

    @property
    def connected(self) -> bool:
        return self._channel is not None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self._channel is None:
            raise BrokerUnavailable("the outbox is closed")
        for message in messages:
            self._producer.publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                content_type=message.content_type,
                content_encoding="binary",
            )
        if any(message.exchange == EVENTS for message in messages):
            self._drop_oldest_events()

    async def close(self) -> None:
        self._channel = None
        self._connection.release()

    def _drop_oldest_events(self) -> None:
        count = self._channel.queue_declare(queue=AM_QUEUE, passive=True).message_count
        for _ in range(count - AM_KEPT):
            self._channel.basic_get(AM_QUEUE, no_ack=True)


class MemoryInbox:
    """`port.Inbox`: a thread polls the queue and hands deliveries to the event loop."""

    def __init__(self, queue: str, prefetch: int, *, name: str) -> None:
        if prefetch < 1:
            raise ValueError(f"prefetch {prefetch}: must be at least 1")
        self._queue = queue
        self._prefetch = prefetch
        self._arrivals = Arrivals()
        self._numbers = itertools.count(1)
        self._unacked: dict[int, Any] = {}  # our number -> kombu's message
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        return self._thread.is_alive()

    async def take(self, most: int) -> list[Delivery]:
        return await self._arrivals.take(most)

    async def gathered(self, count: int) -> None:
        await self._arrivals.gathered(count)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            message = self._unacked.pop(delivery.tag, None)
            if message is not None:
                message.ack()  # kombu's virtual channels take acks from any thread

    async def close(self) -> None:
        """Ends the thread; what is not acked goes back to the queue."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        with _connection() as connection, connection.channel() as channel:
            consumer = _kombu.Consumer(
                channel,
                [_kombu.Queue(self._queue)],
                on_message=self._on_message,
                auto_declare=False,
                prefetch_count=self._prefetch,
            )
            consumer.consume()
            while not self._closing.is_set():
                try:
                    connection.drain_events(timeout=GLANCE_S)
                except TimeoutError:
                    continue
                self._arrivals.announce()
            consumer.cancel()
            self._arrivals.forget()
            self._unacked.clear()
            channel.basic_recover(requeue=True)

    def _on_message(self, message: Any) -> None:
        number = next(self._numbers)
        self._unacked[number] = message
        self._arrivals.put(Delivery(bytes(message.body), number, 0, redelivered=False))


class MemoryBroker:
    """`port.Broker` of one process. Declares the topology where it is used."""

    def __init__(self, *, name: str) -> None:
        self._name = name
        self._parts: list[MemoryInbox | MemoryOutbox] = []
        with _connection() as connection, connection.channel() as channel:
            declare(channel)

    def inbox(self, queue: str, prefetch: int) -> MemoryInbox:
        part = MemoryInbox(queue, prefetch, name=f"{self._name} {queue}")
        self._parts.append(part)
        return part

    def outbox(self) -> MemoryOutbox:
        part = MemoryOutbox()
        self._parts.append(part)
        return part

    async def close(self) -> None:
        """Closes every inbox and outbox and empties every queue of the process."""
        for part in self._parts:
            await part.close()
        self._parts.clear()
        with _connection() as connection, connection.channel() as channel:
            for queue in TOPOLOGY.queues:
                channel.queue_purge(queue.name)
