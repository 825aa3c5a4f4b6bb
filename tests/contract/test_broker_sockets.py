"""Both ways of handling the broker's socket do the same: the buffered one, and py-amqp's own that `BROKER_SOCKET=stock` means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from struct import pack
from typing import Any

import pytest
from amqp.transport import SSLTransport, TCPTransport

from pipeline.broker import declare
from pipeline.broker.buffered import PIECE, BufferedConnection, BufferedTransport
from pipeline.broker.connection import close, connect
from pipeline.broker.factory import open_broker
from pipeline.broker.port import Broker, Outgoing, Unroutable
from pipeline.broker.topology import EXCHANGE
from tests.integration.broker_talk import PAYMENT, ready_messages, take, wake

BOTH = pytest.mark.parametrize("stock", [False, True], ids=["buffered", "stock"])


@pytest.fixture
def declared(fresh_vhost: str) -> str:
    declare.apply(fresh_vhost)
    return fresh_vhost


def run(url: str, scenario: Callable[[Broker], Awaitable[None]], *, stock: bool) -> None:
    async def main() -> None:
        broker = open_broker(url, name="test", stock=stock)
        try:
            await asyncio.wait_for(scenario(broker), 60)
        finally:
            await broker.close()

    asyncio.run(main())


@BOTH
def test_what_is_published_arrives_whole_in_order_and_once(declared: str, stock: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Empty, small, larger than a frame (128 kB), larger than what is held back; more of them than fit the socket."""
    bodies = [b"", b"x", b"b" * 200_000, b"c" * (PIECE + 1), *(b"%d" % number * 50 for number in range(2_000))]

    async def scenario(broker: Broker) -> None:
        outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 600)
        publishing = asyncio.ensure_future(outbox.publish([wake(body) for body in bodies]))
        arrived: list[bytes] = []
        while len(arrived) < len(bodies):
            batch = await inbox.take(300)
            arrived += [one.body for one in batch]
            inbox.ack(batch)
        await publishing
        assert arrived == bodies
        await inbox.close()
        assert ready_messages(declared, PAYMENT) == 0

    run(declared, scenario, stock=stock)


@BOTH
def test_a_returned_message_is_unroutable_and_the_others_are_there(declared: str, stock: bool) -> None:  # noqa: FBT001 - as above
    async def scenario(broker: Broker) -> None:
        outbox = broker.outbox()
        with pytest.raises(Unroutable, match=r"wake\.nowhere"):
            await outbox.publish([wake(b"1"), Outgoing(EXCHANGE, "wake.nowhere", b"2"), wake(b"3")])
        assert [one.body for one in await take(broker.inbox(PAYMENT, 5), 2)] == [b"1", b"3"]

    run(declared, scenario, stock=stock)


@BOTH
def test_what_was_not_acked_comes_again(declared: str, stock: bool) -> None:  # noqa: FBT001 - as above
    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"%d" % number) for number in range(400)])
        inbox = broker.inbox(PAYMENT, 400)
        held = await take(inbox, 400)
        inbox.ack(held[:399])
        await inbox.close()
        (again,) = await take(broker.inbox(PAYMENT, 5), 1)
        assert (again.body, again.redelivered) == (b"399", True)

    run(declared, scenario, stock=stock)


@BOTH
def test_the_broker_still_tells_of_alarms_and_nobody_looks_for_them_before_every_message(
    declared: str,
    stock: bool,  # noqa: FBT001 - as above
) -> None:
    connection = connect(declared, name="test", stock=stock)
    try:
        assert connection.server_properties["capabilities"]["connection.blocked"] is True
        assert connection.client_properties["capabilities"]["connection.blocked"] is False
        assert isinstance(connection.transport, BufferedTransport) is not stock
    finally:
        close(connection)


def test_a_batch_is_written_at_once_and_so_is_its_ack(declared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: 300 messages leave in one write, and are acknowledged by one frame in another."""
    writes: list[int] = []
    send_held = BufferedTransport._send_held

    def counting(transport: Any) -> None:
        if transport._held:
            writes.append(len(transport._held))
        send_held(transport)

    monkeypatch.setattr(BufferedTransport, "_send_held", counting)

    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"%d" % number) for number in range(300)])
        inbox = broker.inbox(PAYMENT, 300)
        inbox.ack(await take(inbox, 300))
        await inbox.close()

    run(declared, scenario, stock=False)
    assert writes == [300, 1]


def test_tls_always_uses_the_stock_transport() -> None:
    encrypted = BufferedConnection().Transport("mq.example:5671", 5, {"server_hostname": "mq.example"})
    plain = BufferedConnection().Transport("mq.example:5672", 5, False)
    assert type(encrypted) is SSLTransport
    assert type(plain) is BufferedTransport
    assert issubclass(BufferedTransport, TCPTransport)


class Wire:
    """A buffered transport whose broker is the other end of a socket pair."""

    def __init__(self) -> None:
        ours, self.broker = socket.socketpair()
        self.transport: Any = BufferedTransport("mq.example:5672")
        self.transport.sock = ours
        self.transport._setup_transport()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_error: object) -> None:
        self.transport.sock.close()
        self.broker.close()


def frame(payload: bytes) -> bytes:
    return pack(">BHI", 1, 7, len(payload)) + payload + b"\xce"


def test_a_frame_is_there_only_once_all_of_it_is() -> None:
    with Wire() as wire:
        whole = frame(b"first") + frame(b"second")
        for octet in whole[:12]:
            wire.broker.sendall(bytes([octet]))
            wire.transport.receive()
            assert not wire.transport.has_frame()
        wire.broker.sendall(whole[12:])
        wire.transport.receive()
        assert wire.transport.has_frame()
        assert wire.transport.read_frame() == (1, 7, b"first")
        assert wire.transport.read_frame() == (1, 7, b"second")
        assert not wire.transport.has_frame()


def test_a_frame_cut_by_a_time_out_is_read_whole_later() -> None:
    with Wire() as wire:
        wire.broker.sendall(frame(b"late")[:9])
        wire.transport.sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            wire.transport.read_frame()
        wire.broker.sendall(frame(b"late")[9:])
        assert wire.transport.read_frame() == (1, 7, b"late")


def test_a_broker_that_hangs_up_is_an_error_and_not_an_empty_frame() -> None:
    with Wire() as wire:
        wire.broker.close()
        with pytest.raises(OSError, match="closed connection"):
            wire.transport.receive()


def test_between_cork_and_uncork_nothing_leaves_and_then_everything_in_order() -> None:
    with Wire() as wire:
        wire.broker.setblocking(False)
        wire.transport.cork()
        shared = bytearray(b"one")
        wire.transport.write(memoryview(shared))
        shared[:] = b"two"  # py-amqp writes every frame into the same buffer
        wire.transport.write(memoryview(shared))
        with pytest.raises(BlockingIOError):
            wire.broker.recv(1)
        wire.transport.uncork()
        assert wire.broker.recv(10) == b"onetwo"
        wire.transport.write(b"!")
        assert wire.broker.recv(10) == b"!"
