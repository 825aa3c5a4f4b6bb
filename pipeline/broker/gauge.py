"""How many messages wait in each queue, as the broker itself counts them: for people who look, never for the work."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import amqp
import kombu

from pipeline.broker.connection import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S, close, connect, safe_url, words
from pipeline.broker.depths import depths
from pipeline.broker.owner import OnEvent, Owner, log_event
from pipeline.broker.port import BrokerUnavailable, Depths, Gauge

#: Half typed: to mypy it is untyped.
_kombu: Final[Any] = kombu

EVERY_S: Final = 3.0
NOT_YET: Final = "not connected yet"


class MemoryGauge:
    """Counts the queues of this process when it is asked."""

    def read(self) -> Depths:
        with _kombu.Connection("memory://") as connection:
            return _counts(connection)

    async def close(self) -> None:
        """Nothing is held."""


class _Counting:
    """The owner thread's side: counts every EVERY_S."""

    def __init__(self) -> None:
        self.depths = Depths(trouble=NOT_YET)
        self._connection: Any = None
        self._next = 0.0

    def opened(self, connection: Any) -> None:
        self._connection = connection
        self._take()

    def turn(self) -> float:
        if time.monotonic() >= self._next:
            self._take()
        return max(0.0, self._next - time.monotonic())

    def idle(self) -> bool:
        return True

    def lost(self, why: str) -> None:
        self.depths = Depths(trouble=why)

    def unreachable(self, why: str) -> None:
        self.depths = Depths(trouble=why)

    def _take(self) -> None:
        self.depths = _counts(self._connection)
        self._next = time.monotonic() + EVERY_S


class RabbitGauge:
    """Keeps one connection, and counts on it whether or not somebody looks, so that nobody who looks waits for a broker."""

    def __init__(self, url: str, *, name: str, on_event: OnEvent = log_event) -> None:
        self._counting = _Counting()
        # Stock: each count waits for the broker's answer, which a connection that holds back what it sends never gets.
        self._owner = Owner(self._counting, lambda: connect(url, name=name, stock=True), label=name, on_event=on_event)

    def read(self) -> Depths:
        return self._counting.depths

    async def close(self) -> None:
        self._owner.stop()
        await asyncio.to_thread(self._owner.join, CONNECT_TIMEOUT_S + 2 * SOCKET_TIMEOUT_S)


def open_gauge(url: str, *, name: str) -> Gauge:
    """Of the broker behind a URL; `name` is what its pages call the connection. Raises nothing: `trouble` says what is wrong."""
    return MemoryGauge() if url.startswith("memory:") else RabbitGauge(url, name=name)


def count_once(url: str) -> Depths:
    """One count on a connection of its own, for a command. Blocking; a broker that is away is `trouble`.

    The queues of `memory://` are those of another process: nobody but `daifu up` can count them.
    """
    if url.startswith("memory:"):
        return Depths(trouble="memory:// is counted by `daifu up` itself: see its console")
    try:
        connection = connect(url, name="daifu overview", stock=True)
    except BrokerUnavailable as error:
        return Depths(trouble=str(error))
    try:
        return _counts(connection)
    except (OSError, amqp.AMQPError) as error:
        return Depths(trouble=f"{safe_url(url)}: {words(error)}")
    finally:
        close(connection)


def _counts(connection: Any) -> Depths:
    return Depths({name: None if depth is None else depth.messages for name, depth in depths(connection).items()})
