"""How full the queues are and whether anybody consumes them, as the broker says."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import amqp

from pipeline.broker.connection import close, connect, safe_url, words
from pipeline.broker.port import BrokerUnavailable
from pipeline.broker.topology import TOPOLOGY, Queue


class Depth(NamedTuple):
    """Messages ready (those delivered and not acked yet don't count), and consumers."""

    queue: str
    messages: int
    consumers: int


NO_HEARTBEAT: Final = 0  # nobody reads this connection between two readings
MISSING: Final = "404"  # NOT_FOUND (AMQP 0-9-1, 1.3)


def depths(connection: Any, queues: Sequence[Queue] = TOPOLOGY.queues) -> dict[str, Depth | None]:
    """Of each queue by its name, None where there is none. `connection` is py-amqp's or that of kombu's memory transport; raises
    what it raises."""
    found: dict[str, Depth | None] = {}
    channel = connection.channel()
    for queue in queues:
        found[queue.name] = _depth(channel, queue.name)
        if found[queue.name] is None:  # over a queue that is missing the broker closes the channel
            channel = connection.channel()
    with contextlib.suppress(amqp.AMQPError):
        channel.close()
    return found


def _depth(channel: Any, name: str) -> Depth | None:
    try:
        told = channel.queue_declare(queue=name, passive=True)
    except amqp.ChannelError as error:  # kombu's memory transport says it by the bare class and its number as text
        if str(error.reply_code) != MISSING:
            raise
        return None
    return Depth(name, int(told.message_count), int(told.consumer_count))


class QueueDepths:
    """Asks by passive declarations, which need no right on a queue, over a connection of its own that is kept. Blocking; one call at
    a time. A queue that is missing is left out: `topology check` names it."""

    def __init__(self, url: str, *, name: str, queues: Sequence[Queue] = TOPOLOGY.queues) -> None:
        self._url, self._name, self._queues = url, name, queues
        self._connection: Any = None

    def read(self) -> list[Depth]:
        """Raises BrokerUnavailable; the next call connects anew."""
        if self._connection is None:
            self._connection = connect(self._url, name=self._name, heartbeat_s=NO_HEARTBEAT)
        try:
            found = depths(self._connection, self._queues)
        except (OSError, amqp.AMQPError) as error:
            self.close()
            raise BrokerUnavailable(f"queues not read at {safe_url(self._url)}: {words(error)}") from error
        return [depth for depth in found.values() if depth is not None]

    def close(self) -> None:
        """Never raises."""
        if self._connection is not None:
            close(self._connection)
            self._connection = None
