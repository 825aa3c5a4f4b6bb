"""A broker's inbox and outbox that count, by OpenTelemetry's names. A few additions per batch, nothing per message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from pipeline.broker.port import Delivery, Inbox, Outbox, Outgoing
from pipeline.metrics import Metrics
from pipeline.ports import Clock

SYSTEM: Final = "rabbitmq"
IN_MEMORY: Final = "memory"


class MeteredInbox:
    """Counts what one queue delivered."""

    def __init__(self, inbox: Inbox, metrics: Metrics, system: str, queue: str) -> None:
        self._inbox = inbox
        self._consumed = metrics.consumed.labels(system, "receive", queue)

    @property
    def connected(self) -> bool:
        return self._inbox.connected

    async def take(self, most: int) -> list[Delivery]:
        deliveries = await self._inbox.take(most)
        self._consumed.inc(len(deliveries))
        return deliveries

    async def gathered(self, count: int) -> None:
        await self._inbox.gathered(count)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._inbox.ack(deliveries)

    async def close(self) -> None:
        await self._inbox.close()


class MeteredOutbox:
    """Counts what the broker confirmed, and times every batch until it did."""

    def __init__(self, outbox: Outbox, metrics: Metrics, system: str, clock: Clock) -> None:
        self._outbox, self._metrics, self._system, self._clock = outbox, metrics, system, clock

    @property
    def connected(self) -> bool:
        return self._outbox.connected

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """As `Outbox.publish`."""
        began = self._clock.monotonic()
        exchanges = Counter(message.exchange for message in messages)
        wrong = ""
        try:
            await self._outbox.publish(messages)
        except Exception as error:
            wrong = type(error).__name__
            raise
        finally:
            seconds = self._clock.monotonic() - began
            for exchange, count in exchanges.items():
                self._metrics.operation_time.labels(self._system, "send", exchange, wrong).observe(seconds)
                if not wrong:
                    self._metrics.sent.labels(self._system, "send", exchange).inc(count)

    async def close(self) -> None:
        await self._outbox.close()
