"""A house whose queues and exchanges all stand behind a prefix: a bench never meets the real ones."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.broker.port import Broker, Inbox, Outbox, Outgoing
from pipeline.broker.topology import STAGES
from pipeline.cli.house import House, open_house
from pipeline.settings import Settings


def open_prefixed_house(settings: Settings, prefix: str, name: str) -> House:
    """As `open_house`, on queues behind `prefix` (none: the real names). Raises what that raises."""
    house = open_house(settings, f"bench {name}", by_index=name in STAGES)
    if prefix:
        house.broker = PrefixedBroker(house.broker, prefix)
    return house


class PrefixedBroker:
    """`Broker` where every name that goes out or in stands behind a prefix."""

    def __init__(self, broker: Broker, prefix: str) -> None:
        self._broker, self._prefix = broker, prefix

    def inbox(self, queue: str, prefetch: int) -> Inbox:
        return self._broker.inbox(f"{self._prefix}{queue}", prefetch)

    def outbox(self) -> Outbox:
        return _PrefixedOutbox(self._broker.outbox(), self._prefix)

    async def close(self) -> None:
        await self._broker.close()


class _PrefixedOutbox:
    def __init__(self, outbox: Outbox, prefix: str) -> None:
        self._outbox, self._prefix = outbox, prefix

    @property
    def connected(self) -> bool:
        return self._outbox.connected

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        prefix = self._prefix
        await self._outbox.publish(
            [Outgoing(prefix + it.exchange, it.routing_key, it.body, it.content_type) for it in messages]
        )

    async def close(self) -> None:
        await self._outbox.close()
