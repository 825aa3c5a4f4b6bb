"""The one thread that owns one connection.

py-amqp is not thread-safe and keeps no heartbeats by itself. So a connection is only ever touched by its owner thread,
which waits on the socket and on a wake-up socket at once, and so keeps heartbeats alive however busy the application is.
Others leave their wishes in a deque and call `wake`.
"""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from pipeline.broker.buffered import BufferedTransport, corked
from pipeline.broker.connection import close, words

#: Called on the owner thread with `broker_connected`, `broker_lost` or `broker_unreachable` (never yet connected) and its
#: fields (`connection`, and `reason` where there is one), once per change. It must not raise or block.
OnEvent = Callable[[str, Mapping[str, object]], None]

#: Frames read from the socket before the job and the heartbeat get their turn again.
READ_BURST: Final = 1_500
#: Seconds to wait for the rest of a frame that has begun to arrive.
FRAME_REST_S: Final = 1.0
#: Seconds between looks at the heartbeat.
TICK_S: Final = 0.5


def log_event(event: str, fields: Mapping[str, object]) -> None:
    """The default `OnEvent`: one structlog line per change of state."""
    log = structlog.get_logger("daifu.broker")
    if event == "broker_connected":
        log.info("broker_connected", **fields)
    else:
        log.warning(event, **fields)


class Job(Protocol):
    """What an owner thread does with its connection. Every method runs on that thread."""

    def opened(self, connection: Any) -> None:
        """A connection is there: make channels. Raising means it is of no use (yet)."""

    def turn(self) -> float:
        """Do what is waiting; returns the seconds after which to be called again at the latest. Raising throws the
        connection away."""

    def idle(self) -> bool:
        """True when nothing waits for the broker: only then a stop ends the connection."""

    def lost(self, why: str) -> None:
        """The connection is gone."""

    def unreachable(self, why: str) -> None:
        """No connection could be made; it is tried again later."""


@dataclass(slots=True)
class Backoff:
    """Waiting times between tries: doubling from `first_s` to `most_s`, each shortened by up to a half at random, so that
    a fleet does not come back in step."""

    first_s: float = 0.1
    most_s: float = 5.0
    uniform: Callable[[float, float], float] = random.uniform
    _tries: int = 0

    def next_s(self) -> float:
        bound = min(self.most_s, self.first_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return bound * self.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._tries = 0


class Owner:
    """Runs a `Job` on a thread of its own, reconnecting for ever until stopped."""

    def __init__(self, job: Job, open_connection: Callable[[], Any], *, label: str, on_event: OnEvent) -> None:
        self._job = job
        self._open = open_connection
        self._label = label
        self._on_event = on_event
        self._backoff = Backoff()
        self._up: bool | None = None  # None: nothing was said yet
        self._stopping = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=label, daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """True while the connection and all the job made on it stand."""
        return self._up is True

    def wake(self) -> None:
        """Have the job's `turn` called soon. Any thread; never blocks, never raises."""
        try:
            self._wake_in.send(b"\0")
        except OSError:  # full: it is awake anyway; closed: nobody is left to wake
            return

    def stop(self) -> None:
        """End the thread once the job is idle. Any thread; returns at once."""
        self._stopping.set()
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end. Blocking; never call it on an event loop's thread."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        with self._wake_in, self._wake_out:
            while not self._stopping.is_set():
                self._connect_and_serve()
            self._job.unreachable("closed")

    def _connect_and_serve(self) -> None:
        connection: Any = None
        began = time.monotonic()
        try:
            connection = self._open()
            self._job.opened(connection)
            self._say(up=True)
            self._serve(connection)
        except Exception as exc:  # noqa: BLE001 - whatever happens on a connection, it is thrown away and said so
            was_up = self._up is True
            self._drop(connection)
            why = words(exc)
            self._say(up=False, reason=why)
            if was_up:
                self._job.lost(why)
                if time.monotonic() - began > self._backoff.most_s:
                    self._backoff.reset()
            else:
                self._job.unreachable(why)
            self._sleep(self._backoff.next_s())
        else:
            self._up = False
            close(connection)
            self._job.lost("closed")

    def _serve(self, connection: Any) -> None:
        waiting = select.poll()  # select.select ends at file descriptor 1023; a payment worker holds more
        waiting.register(connection.sock, select.POLLIN)
        waiting.register(self._wake_out, select.POLLIN)
        broker, wake = connection.sock.fileno(), self._wake_out.fileno()
        next_tick = 0.0
        while True:
            with corked(connection):
                wait_s = self._job.turn()
            if self._stopping.is_set() and self._job.idle():
                return
            now = time.monotonic()
            if now >= next_tick:
                connection.heartbeat_tick()
                next_tick = now + TICK_S
            patience_s = 0 if _buffered(connection) else max(0.0, min(wait_s, next_tick - now))
            ready = {number for number, _events in waiting.poll(patience_s * 1000)}
            if wake in ready:
                self._swallow_wakes()
            _read(connection, arrived=broker in ready)

    def _swallow_wakes(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            return

    def _sleep(self, seconds: float) -> None:
        # Not to be cut short by `wake`: callers who try again at once must not turn into a storm of connections.
        self._stopping.wait(seconds)

    def _drop(self, connection: Any) -> None:
        if connection is not None:  # also where py-amqp says it is not connected: its socket is still open then
            connection.collect()

    def _say(self, *, up: bool, reason: str | None = None) -> None:
        before, self._up = self._up, up
        if before is not up:
            fields = {"connection": self._label} if reason is None else {"connection": self._label, "reason": reason}
            event = "broker_connected" if up else "broker_unreachable" if before is None else "broker_lost"
            self._on_event(event, fields)


def _buffered(connection: Any) -> bool:
    """True when bytes are here that the socket no longer shows: decrypted by TLS, or read ahead."""
    transport = getattr(connection, "transport", None)
    if isinstance(transport, BufferedTransport):
        return transport.has_frame()
    pending = getattr(connection.sock, "pending", None)
    return bool(pending and pending())


def _read(connection: Any, *, arrived: bool) -> None:
    """Handle what is here. `arrived`: the socket has something, its end included."""
    transport = getattr(connection, "transport", None)
    if isinstance(transport, BufferedTransport):
        _read_ahead(connection, transport, arrived=arrived)
        return
    ready = select.poll()
    ready.register(connection.sock, select.POLLIN)
    for _ in range(READ_BURST):
        if not (_buffered(connection) or ready.poll(0)):
            return
        try:
            # Frame by frame: `drain_events` takes a heartbeat and then waits for a method to follow, so that every
            # heartbeat would hold up the thread. A time-out above 0: with 0 py-amqp spins on half a frame.
            connection.blocking_read(timeout=FRAME_REST_S)
        except TimeoutError:  # the rest comes later; py-amqp keeps what it has
            return


def _read_ahead(connection: Any, transport: BufferedTransport, *, arrived: bool) -> None:
    """The same on the buffered transport: one piece of what the socket has, then every whole frame that is here."""
    if not transport.has_frame():
        if not arrived:
            return
        transport.receive()
    for _ in range(READ_BURST):
        if not transport.has_frame():
            return
        connection.on_inbound_frame(transport.read_frame())
