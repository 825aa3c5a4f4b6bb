"""Which broker a URL means."""

from __future__ import annotations

import asyncio

from pipeline.broker.connection import HEARTBEAT_S, parse_url
from pipeline.broker.consumer import RabbitInbox
from pipeline.broker.owner import OnEvent, log_event
from pipeline.broker.port import Broker
from pipeline.broker.publisher import CONFIRM_TIMEOUT_S, RabbitOutbox


class RabbitBroker:
    """`port.Broker` on RabbitMQ: every inbox and every outbox has its own connection and thread, so that flow control of
    publishing never holds up an ack."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        on_event: OnEvent = log_event,
        confirm_timeout_s: float = CONFIRM_TIMEOUT_S,
        heartbeat_s: int = HEARTBEAT_S,
        stock: bool = False,
    ) -> None:
        parse_url(url)  # a bad URL is told now, not by a thread that tries for ever
        self._url = url
        self._name = name
        self._on_event = on_event
        self._confirm_timeout_s = confirm_timeout_s
        self._heartbeat_s = heartbeat_s
        self._stock = stock
        self._parts: list[RabbitInbox | RabbitOutbox] = []

    def inbox(self, queue: str, prefetch: int) -> RabbitInbox:
        part = RabbitInbox(
            self._url,
            queue,
            prefetch,
            name=f"{self._name} consumes {queue}",
            on_event=self._on_event,
            heartbeat_s=self._heartbeat_s,
            stock=self._stock,
        )
        self._parts.append(part)
        return part

    def outbox(self) -> RabbitOutbox:
        part = RabbitOutbox(
            self._url,
            name=f"{self._name} publishes",
            on_event=self._on_event,
            confirm_timeout_s=self._confirm_timeout_s,
            heartbeat_s=self._heartbeat_s,
            stock=self._stock,
        )
        self._parts.append(part)
        return part

    async def close(self) -> None:
        """Closes every inbox and outbox, at once."""
        await asyncio.gather(*(part.close() for part in self._parts))
        self._parts.clear()


def open_broker(url: str, *, name: str, on_event: OnEvent = log_event, stock: bool = False) -> Broker:
    """The broker behind a URL; `name` names its connections on the broker's pages and in logs; `stock` as in `connect`.

    `memory://` is this process alone, with its topology declared. On RabbitMQ connections are made and remade in the
    background, nothing is declared (`declare.apply` does), and `connected` tells. Raises ValueError (the URL).
    """
    if url.startswith("memory:"):
        from pipeline.broker.memory import MemoryBroker  # a worker on RabbitMQ declares nothing and never loads it

        return MemoryBroker(name=name)
    return RabbitBroker(url, name=name, on_event=on_event, stock=stock)
