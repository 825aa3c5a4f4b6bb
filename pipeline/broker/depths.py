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
            found = [self._depth(queue.name) for queue in self._queues]
        except (OSError, amqp.AMQPError) as error:
            self.close()
            raise BrokerUnavailable(f"queues not read at {safe_url(self._url)}: {words(error)}") from error
        return [depth for depth in found if depth is not None]

    def _depth(self, name: str) -> Depth | None:
        channel = self._connection.channel()  # a queue that is missing closes its channel
        try:
            told = channel.queue_declare(queue=name, passive=True)
        except amqp.NotFound:
            return None
        finally:
            with contextlib.suppress(amqp.AMQPError):
                channel.close()
        return Depth(name, int(told.message_count), int(told.consumer_count))

    def close(self) -> None:
        """Never raises."""
        if self._connection is not None:
            close(self._connection)
            self._connection = None
