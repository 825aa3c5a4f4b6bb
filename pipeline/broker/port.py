"""What the pipeline needs of a message broker. kombu implements it; tests of virtual time bring their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import DaifuError


class BrokerUnavailable(DaifuError):
    """The broker could not be reached, or did not confirm in time. What was published may or may not have arrived."""


class Unroutable(DaifuError):
    """The broker returned messages because no queue is bound for them: the topology is missing."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as received. `epoch` names the connection it came by: an ack on another one is void."""

    body: bytes
    tag: int
    epoch: int
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish: persistent, mandatory, confirmed."""

    exchange: str
    routing_key: str
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Depths:
    """`ready`: messages that wait for a consumer, by queue; None: the queue is not declared. What a consumer has in hand is
    not counted. `trouble`: why the broker can't be asked now, and `ready` is empty then."""

    ready: Mapping[str, int | None] = field(default_factory=dict)
    trouble: str | None = None


class Gauge(Protocol):
    """How deep the queues are, for people who look."""

    def read(self) -> Depths:
        """The last count. Any thread; never waits for the broker, never raises."""

    async def close(self) -> None: ...


class Inbox(Protocol):
    """A consumer of one queue."""

    @property
    def connected(self) -> bool:
        """True while a consumer is registered at the broker."""

    async def take(self, most: int) -> list[Delivery]:
        """At least one message, at most `most`, all that are already here; waits while there is none or no broker."""

    async def gathered(self, count: int) -> None:
        """Returns once that many messages are here to be taken. Never, where fewer may be unacked at once: to be cancelled by
        whoever has waited long enough, and by one consumer at a time."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge exactly these (one multiple ack where they are everything up to the last). Returns at once, never raises;
        what a lost connection had delivered is redelivered by the broker."""

    async def close(self) -> None:
        """Stop consuming; unacked messages go back to the queue."""


class Outbox(Protocol):
    @property
    def connected(self) -> bool: ...

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Returns once the broker has confirmed every message. Raises BrokerUnavailable or Unroutable; then nothing is known
        of any of them and the same call may be made again (every consumer tolerates repeats)."""

    async def close(self) -> None: ...


class Broker(Protocol):
    def inbox(self, queue: str, prefetch: int) -> Inbox: ...

    def outbox(self) -> Outbox: ...

    async def close(self) -> None: ...
