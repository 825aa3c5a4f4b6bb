"""A broker in memory that does what `memory://` can't: redelivery, prefetch, confirms that get lost, and every bad day at will.

Each queue keeps its order. What is unacked when its consumer goes comes back to the front, marked redelivered.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.broker.port import BrokerUnavailable, Delivery, Outgoing, Unroutable
from pipeline.broker.topology import TOPOLOGY

Fault = Literal["before", "after"]  # the publish fails before, or after, the messages arrived


@dataclass(slots=True)
class _Message:
    body: bytes
    redelivered: bool = False


@dataclass(slots=True)
class BadDay:
    """What the broker does wrong; all of it off at first."""

    publish_faults: deque[Fault] = field(default_factory=deque)  # the next publishes fail like this, one each
    down: bool = False  # every publish fails, nothing is delivered
    copies: Callable[[str], int] = lambda _queue: 1  # how often a message for this queue arrives
    delay_s: Callable[[str], float] = lambda _queue: 0.0  # how late
    shuffle: random.Random | None = None  # deliver in any order
    most_per_take: int = 1_000_000  # so that two consumers share a queue


def _matches(pattern: str, key: str) -> bool:
    """Topic matching as far as the topology needs it: words, `*` for one word, `#` alone for anything."""
    if pattern == "#":
        return True
    wanted, words = pattern.split("."), key.split(".")
    return len(wanted) == len(words) and all(w in ("*", word) for w, word in zip(wanted, words, strict=True))


class VirtualBroker:
    """`port.Broker` with the product's topology."""

    def __init__(self) -> None:
        self.bad_day = BadDay()
        self.queues: dict[str, deque[_Message]] = {queue.name: deque() for queue in TOPOLOGY.queues}
        self.published: dict[str, int] = defaultdict(int)  # queue -> messages that ever arrived
        self.late = 0  # messages that were confirmed and are in no queue yet
        self.epoch = 0
        self.inboxes: list[VirtualInbox] = []
        self._arrived: dict[str, asyncio.Event] = {name: asyncio.Event() for name in self.queues}

    def inbox(self, queue: str, prefetch: int) -> VirtualInbox:
        box = VirtualInbox(self, queue, prefetch)
        self.inboxes.append(box)
        return box

    def outbox(self) -> VirtualOutbox:
        return VirtualOutbox(self)

    async def close(self) -> None:
        for box in self.inboxes:
            await box.close()

    def route(self, message: Outgoing) -> list[str]:
        """The queues that a message goes to. Raises Unroutable."""
        queues = [
            binding.queue
            for binding in TOPOLOGY.bindings
            if binding.exchange == message.exchange and _matches(binding.pattern, message.routing_key)
        ]
        if not queues:
            raise Unroutable(f"{message.exchange} {message.routing_key}")
        return queues

    def arrive(self, message: Outgoing) -> None:
        for queue in self.route(message):
            for _ in range(self.bad_day.copies(queue)):
                delay_s = self.bad_day.delay_s(queue)
                if delay_s > 0:
                    self.late += 1
                    asyncio.get_running_loop().call_later(delay_s, self._put_late, queue, _Message(message.body))
                else:
                    self._put(queue, _Message(message.body))

    def _put_late(self, queue: str, message: _Message) -> None:
        self.late -= 1
        self._put(queue, message)

    def _put(self, queue: str, message: _Message) -> None:
        self.queues[queue].append(message)
        self.published[queue] += 1
        self.ring(queue)

    def ring(self, queue: str) -> None:
        """Consumers of this queue look again."""
        self._arrived[queue].set()

    async def wait(self, queue: str) -> None:
        self._arrived[queue].clear()
        await self._arrived[queue].wait()

    def purge(self, *queues: str) -> int:
        """Ready messages of these queues (all wake-up queues when none is named) are gone. Returns how many."""
        names = queues or tuple(name for name in self.queues if name != "daifu.am" and not name.endswith(".dlq"))
        lost = sum(len(self.queues[name]) for name in names)
        for name in names:
            self.queues[name].clear()
        return lost

    def lose_disk(self) -> None:
        """Everything is gone, delivered or not, and every connection broke."""
        self.purge(*self.queues)
        self.epoch += 1
        for box in self.inboxes:
            box.unacked.clear()

    def break_connections(self) -> None:
        """What is unacked comes back; acks of the old connections are void."""
        self.epoch += 1
        for box in self.inboxes:
            box.give_back()

    def recover(self) -> None:
        """The bad day is over."""
        self.bad_day = BadDay()
        for queue in self.queues:
            self.ring(queue)

    def bodies(self, queue: str) -> list[bytes]:
        """Take everything out of a queue that has no consumer here."""
        taken = [message.body for message in self.queues[queue]]
        self.queues[queue].clear()
        return taken


class VirtualInbox:
    """`port.Inbox`."""

    _tags = itertools.count(1)

    def __init__(self, broker: VirtualBroker, queue: str, prefetch: int) -> None:
        self._broker, self.queue, self._prefetch = broker, queue, prefetch
        self.unacked: dict[int, _Message] = {}
        self.closed = False

    @property
    def connected(self) -> bool:
        return not self.closed and not self._broker.bad_day.down

    async def take(self, most: int) -> list[Delivery]:
        await self.gathered(1)
        ready, bad_day = self._broker.queues[self.queue], self._broker.bad_day
        count = min(most, self._here, bad_day.most_per_take)
        deliveries = []
        for _ in range(count):
            if bad_day.shuffle is not None:
                ready.rotate(-bad_day.shuffle.randrange(len(ready)))
            message = ready.popleft()
            tag = next(self._tags)
            self.unacked[tag] = message
            deliveries.append(Delivery(message.body, tag, self._broker.epoch, message.redelivered))
        return deliveries

    async def gathered(self, count: int) -> None:
        while self._here < count:
            await self._broker.wait(self.queue)

    @property
    def _here(self) -> int:
        ready = len(self._broker.queues[self.queue]) if self.connected else 0
        return min(ready, self._prefetch - len(self.unacked))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.epoch == self._broker.epoch:
                self.unacked.pop(delivery.tag, None)
        self._broker.ring(self.queue)

    def give_back(self) -> None:
        """Unacked messages return to the front of their queue, in order."""
        back = list(self.unacked.values())
        self.unacked.clear()
        for message in reversed(back):
            message.redelivered = True
            self._broker.queues[self.queue].appendleft(message)
        self._broker.ring(self.queue)

    async def close(self) -> None:
        self.closed = True
        self.give_back()


class VirtualOutbox:
    """`port.Outbox`."""

    def __init__(self, broker: VirtualBroker) -> None:
        self._broker = broker
        self.arrived: Callable[[], None] = lambda: None  # called when the broker has one more message

    @property
    def connected(self) -> bool:
        return not self._broker.bad_day.down

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        bad_day = self._broker.bad_day
        if bad_day.down:
            raise BrokerUnavailable("the broker is down")
        fault = bad_day.publish_faults.popleft() if bad_day.publish_faults else None
        if fault == "before":
            raise BrokerUnavailable("the connection broke before the publish")
        for message in messages:
            self._broker.arrive(message)
            self.arrived()
        if fault == "after":
            raise BrokerUnavailable("the connection broke before the confirm")

    async def close(self) -> None:
        """Nothing is held."""
