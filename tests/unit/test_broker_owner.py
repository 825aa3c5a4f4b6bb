"""The owner thread: one connection at a time, heartbeats, changes of state said once, an orderly end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import amqp
import pytest

from pipeline.broker import owner as owner_module
from pipeline.broker.connection import frames_without_properties
from pipeline.broker.owner import Owner

WAIT_S = 10.0


class FakeConnection:
    """A connection whose broker is the other end of a socket pair: one byte is one frame, `x` breaks the connection."""

    def __init__(self) -> None:
        self.sock, self.broker = socket.socketpair()
        self.ticks = threading.Semaphore(0)
        self.ended: str | None = None

    def blocking_read(self, timeout: float) -> None:
        if self.sock.recv(1) == b"x":
            raise amqp.ConnectionForced("CONNECTION_FORCED - told to")

    def heartbeat_tick(self) -> None:
        self.ticks.release()

    def close(self) -> None:
        self.ended = "closed"

    def collect(self) -> None:
        self.ended = self.ended or "dropped"
        self.sock.close()
        self.broker.close()


class Diary:
    """A job that writes down what it is told; `broken` makes its next turn fail."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(0)
        self.story: list[str] = []
        self.busy = False
        self.broken = False

    def opened(self, connection: Any) -> None:
        self.story.append("opened")

    def turn(self) -> float:
        self.turns.release()
        if self.broken:
            self.broken = False
            raise KeyError("a surprise")
        return 3600.0

    def idle(self) -> bool:
        return not self.busy

    def lost(self, why: str) -> None:
        self.story.append(f"lost: {why}")

    def unreachable(self, why: str) -> None:
        self.story.append(f"unreachable: {why}")


class World:
    def __init__(self) -> None:
        self.job = Diary()
        self.connections: list[FakeConnection] = []
        self.refuse = 0
        self.events: list[tuple[str, str | None]] = []
        self.changed = threading.Semaphore(0)

    def open(self) -> FakeConnection:
        if self.refuse:
            self.refuse -= 1
            raise OSError("refused")
        self.connections.append(FakeConnection())
        return self.connections[-1]

    def note(self, event: str, fields: Mapping[str, object]) -> None:
        self.events.append((event, str(fields["reason"]) if "reason" in fields else None))
        self.changed.release()

    def await_change(self) -> None:
        assert self.changed.acquire(timeout=WAIT_S)

    @contextlib.contextmanager
    def running(self) -> Iterator[Owner]:
        owner = Owner(self.job, self.open, label="test", on_event=self.note)
        try:
            yield owner
        finally:
            self.job.busy = False
            owner.stop()
            owner.join(WAIT_S)
            owner.wake()  # after the end: nothing happens


def test_a_wake_up_brings_the_next_turn() -> None:
    world = World()
    with world.running() as owner:
        world.await_change()
        assert world.job.turns.acquire(timeout=WAIT_S)
        owner.wake()
        assert world.job.turns.acquire(timeout=WAIT_S)
        assert owner.up


def test_heartbeats_tick_while_nothing_happens() -> None:
    world = World()
    with world.running():
        world.await_change()
        for _ in range(3):
            assert world.connections[0].ticks.acquire(timeout=WAIT_S)


def broken_by_the_broker(world: World, owner: Owner) -> None:
    world.connections[0].broker.send(b"x")


def broken_by_a_surprise(world: World, owner: Owner) -> None:
    world.job.broken = True
    owner.wake()


@pytest.mark.parametrize(
    ("blow", "why"),
    [(broken_by_the_broker, "CONNECTION_FORCED - told to"), (broken_by_a_surprise, "'a surprise'")],
)
def test_whatever_breaks_a_connection_it_is_thrown_away_and_a_new_one_made(
    blow: Callable[[World, Owner], None], why: str
) -> None:
    world = World()
    with world.running() as owner:
        world.await_change()
        blow(world, owner)
        world.await_change()
        world.await_change()
    assert [connection.ended for connection in world.connections] == ["dropped", "closed"]
    assert world.job.story == ["opened", f"lost: {why}", "opened", "lost: closed", "unreachable: closed"]
    assert world.events == [("broker_connected", None), ("broker_lost", why), ("broker_connected", None)]


def test_a_broker_that_is_not_there_is_said_once_and_tried_again() -> None:
    world = World()
    world.refuse = 3
    with world.running():
        world.await_change()
        world.await_change()
    assert world.events == [("broker_unreachable", "refused"), ("broker_connected", None)]
    assert world.job.story[:4] == ["unreachable: refused"] * 3 + ["opened"]


def test_a_stop_waits_until_the_job_has_nothing_open() -> None:
    world = World()
    with world.running() as owner:
        world.await_change()
        world.job.busy = True
        owner.stop()
        owner.join(0.1)
        assert world.connections[0].ended is None
        world.job.busy = False
        owner.wake()
        owner.join(WAIT_S)
        assert world.connections[0].ended == "closed"


class OneHeartbeat:
    """py-amqp's transport with a heartbeat frame to read, and nothing after it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @contextlib.contextmanager
    def having_timeout(self, timeout: float) -> Iterator[socket.socket]:
        yield self.sock

    def read_frame(self) -> tuple[int, int, bytes]:
        self.sock.setblocking(False)
        assert self.sock.recv(1), "waited for a frame that nobody sent"
        return 8, 0, b""

    def close(self) -> None: ...


def test_a_heartbeat_does_not_hold_up_the_thread() -> None:
    """py-amqp's `drain_events` reads on after a heartbeat until a method comes."""
    ours, broker = socket.socketpair()
    with ours, broker:
        connection = amqp.Connection()
        connection.transport = OneHeartbeat(ours)
        connection.on_inbound_frame = frames_without_properties(connection, lambda *frame: None)
        broker.send(b"h")
        owner_module._read(connection, arrived=True)
        assert connection.bytes_recv == 1
