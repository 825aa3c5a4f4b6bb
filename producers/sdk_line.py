"""One connection of the SDK, in a thread of its own, good until the first trouble (the publisher then takes a new one).

Confirms are on, every message is mandatory and persistent, and at most `WINDOW` of them are unconfirmed at a time
(spike-costs section 3). pika's connections belong to one thread: callers only hand over a batch and wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.exceptions import ChannelClosedByBroker, ConnectionBlockedTimeout

from producers.sdk_errors import BLOCKED, PublishError, Refused, Unreachable, Unroutable, why
from schemas.envelope import CONTENT_TYPE

EXCHANGE = "daifu"
WINDOW = 300
CHANNEL_S = 2.0
CLOSE_S = 2.0  # a broker under an alarm reads nothing, so a good-bye may stay unanswered


@dataclass(frozen=True, slots=True)
class Outgoing:
    message_id: str
    routing_key: str
    body: bytes = field(repr=False)


class Batch:
    """Messages on their way. The line's thread settles them; the caller waits, and reads once the line is done with it."""

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        self.messages = messages
        self.errors: dict[int, PublishError] = {}
        self.accepted: set[int] = set()
        self.moved_at = time.monotonic()
        self.done = threading.Event()  # all is settled, or the line has ended

    @property
    def settled(self) -> int:
        return len(self.errors) + len(self.accepted)

    @property
    def open(self) -> list[int]:
        """Indexes of the messages whose fate is unknown."""
        return [index for index in range(len(self.messages)) if index not in self.accepted and index not in self.errors]

    def settle(self, index: int, error: PublishError | None) -> None:
        if error is None:
            self.accepted.add(index)
        else:
            self.errors[index] = error
        self.moved_at = time.monotonic()

    def fail_rest(self, error: PublishError) -> None:
        for index in self.open:
            self.errors[index] = error


class Line:
    """Use: `open`, then `send` any number of times until `trouble` is set, then `close`."""

    def __init__(self, parameters: pika.ConnectionParameters, address: str) -> None:
        self.trouble: PublishError | None = None
        self._parameters = parameters
        self._address = address
        self._guard = threading.Lock()
        self._loop: Any = IOLoop()
        self._connection: Any = None
        self._channel: Any = None
        self._thread = threading.Thread(target=self._run, name="daifu-publisher", daemon=True)
        self._ready = threading.Event()
        self._batch: Batch | None = None
        self._waiting: deque[int] = deque()
        self._unconfirmed: dict[int, int] = {}  # delivery tag → index, in the order of the tags
        self._returned: dict[int, str] = {}  # index → the broker's words; its ack follows
        self._last_tag = 0
        self._blocked = False

    # the caller's side

    def open(self) -> None:
        """Connect. Raises Unreachable."""
        self._thread.start()
        # pika's own time-out ends an opening; ours is for what comes after it, the channel
        if not self._ready.wait(self._parameters.stack_timeout + CHANNEL_S):
            self.trouble = self._unreachable("connected, but no channel came")
        if self.trouble is not None:
            self.close()
            raise self.trouble

    def send(self, batch: Batch, patience_s: float) -> PublishError | None:
        """Publish what is open in `batch`; returns once all is settled, or with the trouble that ended this line."""
        batch.done.clear()
        batch.moved_at = time.monotonic()
        self._batch = batch  # before the hand-over: a line that ends meanwhile wakes this caller
        self._call(self._start)
        try:
            while self.trouble is None:
                left = batch.moved_at + patience_s - time.monotonic()
                if left <= 0:
                    alarm = f": {BLOCKED}" if self._blocked else ""
                    self.trouble = self._unreachable(f"no confirm within {patience_s:g} s{alarm}")
                elif batch.done.wait(left) and batch.settled == len(batch.messages):
                    return None
        except BaseException:
            # messages are still on their way: this line must not be used again
            self.trouble = self._unreachable("the wait was interrupted")
            raise
        self.close()  # its thread has ended: the batch moves no more
        return self.trouble if batch.settled < len(batch.messages) else None

    def close(self) -> None:
        """Hang up and end the thread; a second call does nothing."""
        self._call(self._hang_up)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._call(self._drop)
            self._thread.join(CLOSE_S)

    def _call(self, act: Callable[[], None]) -> None:
        with self._guard:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(act)
            elif self.trouble is None:
                self.trouble = self._unreachable("the connection is closed")

    # the thread's side

    def _run(self) -> None:
        try:
            self._connection = SelectConnection(
                self._parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_end,
                on_close_callback=self._on_end,
                custom_ioloop=self._loop,
            )
            self._loop.start()
        finally:
            with self._guard:
                self._loop.close()
                self._loop = None
            self._end(self._unreachable("the connection is closed"))

    def _end(self, trouble: PublishError) -> None:
        if self.trouble is None:
            self.trouble = trouble
        self._ready.set()
        if self._batch is not None:
            self._batch.done.set()

    def _on_open(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        connection.channel(on_open_callback=self._on_channel)

    def _set_blocked(self, blocked: bool) -> None:  # noqa: FBT001 - the state the broker told
        self._blocked = blocked

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._ready.set())

    def _on_end(self, _connection: Any, error: BaseException) -> None:
        if self.trouble is None:
            self.trouble = self._unreachable(why(error))
        self._loop.stop()

    def _on_channel_closed(self, _channel: Any, error: BaseException) -> None:
        if isinstance(error, ChannelClosedByBroker):
            words = f"{self._address}: {error.reply_code} {error.reply_text}"
            # 404: there is no such exchange; everything else is a "no" that a second try would only hear again
            self.trouble = Unroutable(words) if error.reply_code == 404 else Refused(words)
            self._hang_up()

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        if self._batch is None:
            return
        for index in self._unconfirmed.values():
            message = self._batch.messages[index]
            if (message.message_id, message.routing_key) == (properties.message_id, method.routing_key):
                self._returned[index] = f"{method.reply_code} {method.reply_text}"

    def _on_confirm(self, frame: Any) -> None:
        tag, multiple = frame.method.delivery_tag, frame.method.multiple
        refused = isinstance(frame.method, pika.spec.Basic.Nack)
        for done in [known for known in self._unconfirmed if known <= tag] if multiple else [tag]:
            self._settle(self._unconfirmed.pop(done), refused=refused)
        self._fill()
        if self._batch is not None and self._batch.settled == len(self._batch.messages):
            self._batch.done.set()

    def _settle(self, index: int, *, refused: bool) -> None:
        if self._batch is None:
            return
        key = self._batch.messages[index].routing_key
        error: PublishError | None = None
        if index in self._returned:
            error = Unroutable(f"{self._address}: nothing takes {key} on {EXCHANGE}: {self._returned.pop(index)}")
        elif refused:
            error = Refused(f"{self._address}: the broker did not take {key} (nack)")
        self._batch.settle(index, error)

    def _start(self) -> None:
        if self._batch is not None:
            self._waiting = deque(self._batch.open)
            self._fill()

    def _fill(self) -> None:
        if self._batch is None or not self._channel.is_open:
            return
        while self._waiting and len(self._unconfirmed) < WINDOW:
            index = self._waiting.popleft()
            message = self._batch.messages[index]
            self._last_tag += 1
            self._unconfirmed[self._last_tag] = index
            properties = pika.BasicProperties(
                content_type=CONTENT_TYPE, delivery_mode=2, message_id=message.message_id, type=message.routing_key
            )
            self._channel.basic_publish(EXCHANGE, message.routing_key, message.body, properties, mandatory=True)

    def _hang_up(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        elif self._connection.is_closed:
            self._loop.stop()
        # an opening is left to its time-out: pika 1.4 breaks on an assertion when both end it

    def _drop(self) -> None:
        if self._connection.is_closing:
            # pika has no public way to leave without a good-bye; its time-out for a blocked connection takes this one
            self._connection._terminate_stream(ConnectionBlockedTimeout("left"))  # noqa: SLF001
        else:
            self._loop.stop()

    def _unreachable(self, words: str) -> Unreachable:
        return Unreachable(f"{self._address}: {words}")
