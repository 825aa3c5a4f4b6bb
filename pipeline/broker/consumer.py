"""Consuming one queue of RabbitMQ: raw bytes, a bounded buffer, acks on the connection they belong to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pipeline.broker.connection import CONNECT_TIMEOUT_S, HEARTBEAT_S, SOCKET_TIMEOUT_S, connect
from pipeline.broker.owner import OnEvent, Owner, log_event
from pipeline.broker.port import BrokerUnavailable, Delivery

NEVER_S: Final = 3600.0


class Arrivals:
    """Deliveries on their way from the owner thread to the tasks that take them."""

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._some = asyncio.Event()
        self._enough = 1  # for whoever waits

    def put(self, delivery: Delivery) -> None:
        """Owner thread only; `announce` follows once the burst is read."""
        self._deliveries.append(delivery)

    def announce(self) -> None:
        """Owner thread only: wake whoever waits for what is here now."""
        if self._loop is None or self._some.is_set() or len(self._deliveries) < self._enough:
            return
        try:
            self._loop.call_soon_threadsafe(self._some.set)
        except RuntimeError:  # the loop is closed: nobody takes any more
            return

    def forget(self) -> None:
        """Owner thread only: the connection they came by is gone, the broker delivers them again."""
        self._deliveries.clear()

    async def take(self, most: int) -> list[Delivery]:
        """At least one, at most `most`, all that are here. One event loop only."""
        self._loop = asyncio.get_running_loop()
        while True:
            taken = self._pop(most)
            if taken:
                return taken
            await self._wait_for(1)

    async def gathered(self, count: int) -> None:
        """Until that many are here. One event loop only, and not while another waits in `take`."""
        self._loop = asyncio.get_running_loop()
        self._enough = count
        try:
            while len(self._deliveries) < count:
                await self._wait_for(count)
        finally:
            self._enough = 1

    async def _wait_for(self, count: int) -> None:
        self._some.clear()
        if len(self._deliveries) < count:  # looked at after clear: what arrives from here on sets it again
            await self._some.wait()

    def _pop(self, most: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < most:
            try:
                taken.append(self._deliveries.popleft())
            except IndexError:  # empty, or emptied by `forget` this moment
                break
        return taken


class Subscription:
    """The owner thread's side: one channel, one consumer, and which of its deliveries are not acked yet."""

    def __init__(self, queue: str, prefetch: int) -> None:
        self.arrivals = Arrivals()
        self.acks: deque[tuple[int, tuple[int, ...]]] = deque()  # (epoch, tags)
        self._queue = queue
        self._prefetch = prefetch
        self._channel: Any = None
        self._epoch = 0
        self._unacked: dict[int, None] = {}  # delivery tags, ascending

    def opened(self, connection: Any) -> None:
        self._epoch += 1
        self._unacked.clear()
        self._channel = connection.channel()
        # Per consumer: a global prefetch is a channel error on quorum queues.
        self._channel.basic_qos(0, self._prefetch, False)
        self._register()

    def turn(self) -> float:
        self._send_acks()
        self.arrivals.announce()
        return NEVER_S

    def idle(self) -> bool:
        return not self.acks

    def lost(self, why: str) -> None:
        self._channel = None
        self.arrivals.forget()

    def unreachable(self, why: str) -> None:
        self._channel = None
        self.arrivals.forget()

    def _register(self) -> None:
        self._channel.basic_consume(self._queue, callback=self._on_message, on_cancel=self._on_cancelled_by_broker)

    def _on_message(self, message: Any) -> None:
        info = message.delivery_info
        tag: int = info["delivery_tag"]
        self._unacked[tag] = None
        body = message.body or b""  # py-amqp gives an empty body as text
        self.arrivals.put(Delivery(bytes(body), tag, self._epoch, bool(info["redelivered"])))

    def _on_cancelled_by_broker(self, tag: str) -> None:
        # The queue was deleted or moved, or (4.3) an ack came too late. A new connection asks for it again until it is
        # there; going on without would look healthy and do nothing.
        raise BrokerUnavailable(f"the broker ended the consumer of {self._queue} (basic.cancel)")

    def _send_acks(self) -> None:
        asked: set[int] = set()
        while self.acks:
            epoch, tags = self.acks.popleft()
            if epoch == self._epoch:  # a tag means another message, or none, on any other connection
                asked.update(tags)
        for tag, multiple in acknowledgements(self._unacked, asked):
            self._channel.basic_ack(tag, multiple)


def acknowledgements(unacked: dict[int, None], asked: Iterable[int]) -> list[tuple[int, bool]]:
    """The fewest acks (tag, multiple) that acknowledge `asked` and nothing else; takes them out of `unacked`.

    A multiple ack covers everything up to its tag, so it serves only a run from the oldest unacked tag on. Tags that are
    not in `unacked` are left out: acking one twice is a channel error.
    """
    wanted = sorted(tag for tag in set(asked) if tag in unacked)
    run = 0
    for oldest, tag in zip(unacked, wanted, strict=False):
        if oldest != tag:
            break
        run += 1
    acks = [(wanted[run - 1], run > 1)] if run else []
    acks += [(tag, False) for tag in wanted[run:]]
    for tag in wanted:
        del unacked[tag]
    return acks


class RabbitInbox:
    """`port.Inbox` on RabbitMQ, on a connection of its own; to be used from one event loop.

    `prefetch` bounds what is delivered and not acked, so also the local buffer.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        prefetch: int,
        *,
        name: str,
        on_event: OnEvent = log_event,
        heartbeat_s: int = HEARTBEAT_S,
        stock: bool = False,
    ) -> None:
        if prefetch < 1:
            raise ValueError(f"prefetch {prefetch}: must be at least 1 (0 would mean: all of the queue)")
        self._subscription = Subscription(queue, prefetch)
        self._owner = Owner(
            self._subscription,
            lambda: connect(url, name=name, heartbeat_s=heartbeat_s, stock=stock),
            label=name,
            on_event=on_event,
        )

    @property
    def connected(self) -> bool:
        """True while the consumer is registered."""
        return self._owner.up

    async def take(self, most: int) -> list[Delivery]:
        return await self._subscription.arrivals.take(most)

    async def gathered(self, count: int) -> None:
        await self._subscription.arrivals.gathered(count)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        by_epoch: dict[int, list[int]] = {}
        for delivery in deliveries:
            by_epoch.setdefault(delivery.epoch, []).append(delivery.tag)
        for epoch, tags in by_epoch.items():
            self._subscription.acks.append((epoch, tuple(tags)))
        self._owner.wake()

    async def close(self) -> None:
        """Sends the acks that wait, then ends the connection."""
        self._owner.stop()
        await asyncio.to_thread(self._owner.join, CONNECT_TIMEOUT_S + 2 * SOCKET_TIMEOUT_S)
