"""A TCP proxy between a client and a broker, for tests of what happens when the line or the broker fails."""

from __future__ import annotations

import asyncio
import struct
from urllib.parse import urlsplit


class Line:
    """One client's connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.client = client
        self.broker = broker
        self.answers = asyncio.Event()  # cleared: what the broker says is held back
        self.answers.set()

    def cut(self) -> None:
        for side in (self.client, self.broker):
            side.transport.abort()


class Proxy:
    """Stands between a client and the broker, in the test's event loop (the client lives on threads of its own)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._broker = (parts.hostname, parts.port or 5672)
        self._url = url
        self.lines: list[Line] = []  # every connection there ever was
        self.open_for_business = True
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = self._url.replace(f"{self._broker[0]}:{self._broker[1]}", f"{host}:{port}")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.cut()
        for line in self.lines:
            line.answers.set()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        for line in self.lines:
            line.cut()

    def hold_answers(self) -> None:
        """From now on today's connections hear nothing; new ones do."""
        for line in self.lines:
            line.answers.clear()

    def let_answers_through(self) -> None:
        for line in self.lines:
            line.answers.set()

    def close_by_broker(self) -> None:
        """What `rabbitmqctl close_all_connections` sends: connection.close 320."""
        text = b"CONNECTION_FORCED - Closed via management plugin"
        method = struct.pack(">HHHB", 10, 50, 320, len(text)) + text + struct.pack(">HH", 0, 0)
        for line in self.lines:
            line.client.write(struct.pack(">BHI", 1, 0, len(method)) + method + b"\xce")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open_for_business:
            writer.transport.abort()
            return
        from_broker, to_broker = await asyncio.open_connection(*self._broker)
        line = Line(writer, to_broker)
        self.lines.append(line)
        always = asyncio.Event()
        always.set()
        for source, target, flowing in ((reader, to_broker, always), (from_broker, writer, line.answers)):
            pump = asyncio.create_task(_pump(source, target, flowing, line))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, flowing: asyncio.Event, line: Line) -> None:
    try:
        while data := await source.read(65536):
            await flowing.wait()
            target.write(data)
            await target.drain()
    except OSError:  # cut
        pass
    finally:
        line.cut()
