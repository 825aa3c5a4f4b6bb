"""py-amqp with a socket that is read in large pieces and written once per turn.

Stock py-amqp asks the kernel three times for every frame it reads and sends every message by itself; that is half of what a
message costs, here and in the broker. This leans on names of py-amqp's transport that are not documented (`_read`, `_write`,
`_setup_transport`, `Connection.Transport`, `frame_writer`): the version is pinned, one contract test runs on this and on stock, and
`BROKER_SOCKET=stock` switches back. Plain TCP only: TLS always uses the stock transport.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from struct import unpack_from
from typing import Any, Final

from amqp import spec
from amqp.serialization import dumps
from amqp.transport import TCPTransport
from kombu.transport import pyamqp

#: Bytes asked of the kernel at once, and bytes held back at most before they are sent.
PIECE: Final = 262_144
_METHOD: Final = 1  # the frame type of a method (AMQP 0-9-1, 4.2.3)
_HEADER: Final = 7  # octets of a frame before its payload; one more follows it (AMQP 0-9-1, 4.2.3)


class BufferedTransport(TCPTransport):  # type: ignore[misc]  # py-amqp has no types
    """What has arrived waits in `_piece` from `_at` on; between `cork` and `uncork` what is sent waits in `_held`."""

    _read_buffer: bytes

    def _setup_transport(self) -> None:
        super()._setup_transport()
        self._piece, self._at = b"", 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._corked = False
        self._write = self._write_or_hold

    def receive(self) -> None:
        """Take what has arrived, at most one piece. To be called when the socket has something, else it blocks.

        Raises OSError when the broker is gone.
        """
        arrived = self.sock.recv(PIECE)
        if not arrived:
            raise OSError("Server unexpectedly closed connection")
        self._piece, self._at = self._piece[self._at :] + arrived, 0

    def has_frame(self) -> bool:
        """Whether the next frame is here whole, so that reading it does not touch the socket."""
        here = len(self._piece) - self._at
        return here > _HEADER and here > _HEADER + int(unpack_from(">I", self._piece, self._at + 3)[0])

    def cork(self) -> None:
        self._corked = True

    def uncork(self) -> None:
        """Send what was held back. Raises OSError."""
        self._corked = False
        self._send_held()

    def _read(self, n: int, initial: bool = False, _errnos: tuple[int, ...] = (errno.EAGAIN, errno.EINTR)) -> bytes:  # noqa: FBT001 - py-amqp's signature
        """Exactly `n` bytes. What py-amqp put back after a time-out (`_read_buffer`) comes first."""
        if self._read_buffer:
            self._piece, self._at = self._read_buffer + self._piece[self._at :], 0
            self._read_buffer = b""
        while len(self._piece) - self._at < n:
            try:
                self.receive()
            except OSError as error:
                if error.errno not in _errnos:
                    raise
                if initial and self.raise_on_initial_eintr:
                    raise TimeoutError from error
        start, self._at = self._at, self._at + n
        return self._piece[start : self._at]

    def _write_or_hold(self, frames: bytes | memoryview) -> None:
        if not self._corked:
            self.sock.sendall(frames)
            return
        self._held.append(bytes(frames))  # py-amqp uses one buffer for all it writes
        self._held_bytes += len(frames)
        if self._held_bytes > PIECE:
            self._send_held()

    def _send_held(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self.sock.sendall(b"".join(held))


class BufferedConnection(pyamqp.Connection):
    """kombu's py-amqp connection on that transport."""

    def Transport(  # noqa: N802 - py-amqp's name
        self,
        host: str,
        connect_timeout: float,
        ssl: bool | dict[str, Any] = False,  # noqa: FBT001 - py-amqp's signature
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Any = None,
        **more: Any,
    ) -> Any:
        if ssl:
            return super().Transport(host, connect_timeout, ssl, read_timeout, write_timeout, socket_settings, **more)
        return BufferedTransport(
            host,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            socket_settings=socket_settings,
            **more,
        )


class Buffered(pyamqp.Transport):
    """The kombu transport to name in `kombu.Connection(transport=…)`."""

    Connection = BufferedConnection


@contextmanager
def corked(connection: Any) -> Iterator[None]:
    """What is sent inside leaves together at the end; on a stock connection, and on an error inside, nothing is changed."""
    transport = getattr(connection, "transport", None)
    if not isinstance(transport, BufferedTransport):
        yield
        return
    transport.cork()
    yield
    transport.uncork()


def publish(channel: Any, message: Any, exchange: str, routing_key: str) -> None:
    """`Channel.basic_publish` with `mandatory`. On the buffered transport py-amqp's frame writer is called without the time-out,
    the promise and the arguments made anew that each message costs there. Raises what that raises."""
    connection: Any = getattr(channel, "connection", None)
    if not isinstance(getattr(connection, "transport", None), BufferedTransport):
        channel.basic_publish(message, exchange=exchange, routing_key=routing_key, mandatory=True)
        return
    arguments = _publish_arguments(exchange, routing_key)
    connection.frame_writer(_METHOD, channel.channel_id, spec.Basic.Publish, arguments, message)


@lru_cache(maxsize=256)
def _publish_arguments(exchange: str, routing_key: str) -> bytes:
    """Reserved, exchange, routing key, mandatory, immediate."""
    written: bytes = dumps("Bssbb", (0, exchange, routing_key, True, False))
    return written
