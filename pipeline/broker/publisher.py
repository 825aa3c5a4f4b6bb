"""Publishing to RabbitMQ: mandatory, persistent, every message confirmed.

py-amqp's own confirmed publish takes any confirm for its own: after a time-out, the late confirm of one message passes for
that of the next. Here confirms are matched by delivery tag, and after any doubt the connection is thrown away.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import amqp

from pipeline.broker import buffered
from pipeline.broker.connection import CONNECT_TIMEOUT_S, HEARTBEAT_S, SOCKET_TIMEOUT_S, connect
from pipeline.broker.owner import OnEvent, Owner, log_event
from pipeline.broker.port import BrokerUnavailable, Outgoing, Unroutable

CONFIRM_TIMEOUT_S: Final = 5.0
#: Messages sent before their confirms are awaited; more wait for the next round.
ROUND: Final = 2_000
PERSISTENT: Final = 2
NEVER_S: Final = 3600.0


class _Persistent(amqp.Message):  # type: ignore[misc]  # py-amqp has no types
    """A persistent message whose properties, the same for all of a content type, are serialised once."""

    _serialised: ClassVar[dict[str, bytes]] = {}

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__(body, content_type=content_type, delivery_mode=PERSISTENT)

    def _serialize_properties(self) -> bytes:
        kind: str = self.properties["content_type"]
        known = self._serialised.get(kind)
        if known is None:
            known = self._serialised[kind] = super()._serialize_properties()
        return known


@dataclass(slots=True, eq=False)
class _Request:
    messages: Sequence[Outgoing]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]
    error: Exception | None = None


@dataclass(slots=True)
class _Round:
    """What was published together, and what of it is not confirmed yet."""

    requests: list[_Request] = field(default_factory=list)
    unconfirmed: set[int] = field(default_factory=set)  # delivery tags
    lowest: int = 1  # no smaller tag is unconfirmed


class Confirmer:
    """The owner thread's side: publishes what waits, round by round, and tells each caller how it ended."""

    def __init__(self, confirm_timeout_s: float) -> None:
        self.waiting: deque[_Request] = deque()
        self._confirm_timeout_s = confirm_timeout_s
        self._channel: Any = None
        self._last_tag = 0
        self._round = _Round()
        self._deadline = 0.0
        self._blocked: str | None = None

    def opened(self, connection: Any) -> None:
        connection.on_blocked = self._on_blocked
        connection.on_unblocked = self._on_unblocked
        self._blocked = None
        channel = connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel = channel
        self._last_tag = 0
        self._round.lowest = 1

    def turn(self) -> float:
        while True:
            if self._round.requests and not self._round.unconfirmed:
                self._settle()
            if self._round.requests:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise BrokerUnavailable(self._silence())
                return left
            if not self.waiting:
                return NEVER_S
            self._publish_waiting()

    def idle(self) -> bool:
        return not self.waiting and not self._round.requests

    def lost(self, why: str) -> None:
        self._channel = None
        for request in self._round.requests:
            request.error = request.error or BrokerUnavailable(f"not confirmed: {why}")
            if any(f"no exchange '{message.exchange}'" in why for message in request.messages):
                request.error = Unroutable(f"{why}: run `daifu topology apply`")
        self._settle()

    def unreachable(self, why: str) -> None:
        self._channel = None
        while self.waiting:
            request = self.waiting.popleft()
            request.error = BrokerUnavailable(why)
            self._round.requests.append(request)
        self._settle()

    def _publish_waiting(self) -> None:
        batch = self._round
        sent = 0
        while self.waiting and sent < ROUND:
            request = self.waiting.popleft()
            if request.done.cancelled():
                continue
            batch.requests.append(request)
            for message in request.messages:
                self._publish(message)
            sent += len(request.messages)
        self._deadline = time.monotonic() + self._confirm_timeout_s

    def _publish(self, message: Outgoing) -> None:
        self._last_tag += 1
        self._round.unconfirmed.add(self._last_tag)
        buffered.publish(
            self._channel, _Persistent(message.body, message.content_type), message.exchange, message.routing_key
        )

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's signature
        batch = self._round
        if not multiple:
            batch.unconfirmed.discard(tag)
        elif tag >= batch.lowest:
            batch.unconfirmed.difference_update(range(batch.lowest, tag + 1))
            batch.lowest = tag + 1
        # A slow disk that keeps confirming is no reason for doubt; silence is.
        self._deadline = time.monotonic() + self._confirm_timeout_s

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's signature
        raise BrokerUnavailable(f"the broker refused a message (nack of {tag}{' and before' if multiple else ''})")

    def _on_return(self, error: Exception, exchange: str, routing_key: str, message: object) -> None:
        """The broker returns a message before it confirms it. What is returned depends on exchange and routing key alone
        (this program sends no headers), so every request of the round that used both is told."""
        for request in self._round.requests:
            if any(sent.exchange == exchange and sent.routing_key == routing_key for sent in request.messages):
                request.error = Unroutable(
                    f"no queue is bound to exchange {exchange!r} for {routing_key!r}: run `daifu topology apply`"
                )

    def _on_blocked(self, reason: str) -> None:
        self._blocked = reason

    def _on_unblocked(self) -> None:
        self._blocked = None

    def _silence(self) -> str:
        text = f"{len(self._round.unconfirmed)} messages unconfirmed, silence for {self._confirm_timeout_s:g} s"
        return f"{text} ({self._blocked})" if self._blocked else text

    def _settle(self) -> None:
        ended, self._round = self._round, _Round(lowest=self._last_tag + 1)
        by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        for request in ended.requests:
            by_loop.setdefault(request.loop, []).append(request)
        for loop, requests in by_loop.items():
            try:
                loop.call_soon_threadsafe(_tell, requests)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                continue


def _tell(requests: Sequence[_Request]) -> None:
    for request in requests:
        if request.done.done():
            continue
        if request.error is None:
            request.done.set_result(None)
        else:
            request.done.set_exception(request.error)


class RabbitOutbox:
    """`port.Outbox` on RabbitMQ, on a connection of its own. May be shared by tasks and by event loops."""

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
        self._confirmer = Confirmer(confirm_timeout_s)
        self._closed = False
        # The last net, should the thread itself hang in the kernel: longer than everything it may wait for in turn.
        self._patience_s = 2 * confirm_timeout_s + CONNECT_TIMEOUT_S + 2 * SOCKET_TIMEOUT_S
        self._owner = Owner(
            self._confirmer,
            lambda: connect(url, name=name, heartbeat_s=heartbeat_s, stock=stock),
            label=name,
            on_event=on_event,
        )

    @property
    def connected(self) -> bool:
        return self._owner.up

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if not messages:
            return
        if self._closed:
            raise BrokerUnavailable("the outbox is closed")
        loop = asyncio.get_running_loop()
        request = _Request(tuple(messages), loop, loop.create_future())
        self._confirmer.waiting.append(request)
        self._owner.wake()
        try:
            async with asyncio.timeout(self._patience_s):
                await request.done
        except TimeoutError:
            raise BrokerUnavailable(f"nothing heard of {len(messages)} messages for {self._patience_s:g} s") from None

    async def close(self) -> None:
        """Ends the connection once what was published is confirmed or given up."""
        self._closed = True
        self._owner.stop()
        await asyncio.to_thread(self._owner.join, self._patience_s)
