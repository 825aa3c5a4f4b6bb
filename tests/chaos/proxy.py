"""A TCP proxy that misbehaves on demand: cut, delay, half-close, hold back and refuse, in either direction.

It runs its own event loop on its own thread; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Final, TypeVar

from tests.services.ports import LOOPBACK

T = TypeVar("T")
CHUNK: Final = 65_536
CONNECT_S: Final = 3.0
BACKLOG: Final = 512


class Way(Enum):
    """Which half of a connection."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class Line:
    """One connection through the proxy: two halves, each of which may be held back or closed alone."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client_port = int(client.get_extra_info("peername")[1])
        self._writers = {Way.TO_SERVER: server, Way.TO_CLIENT: client}
        self._flowing = {way: asyncio.Event() for way in Way}
        self._closed: set[Way] = set()
        self.stranded = False
        self.was_cut = asyncio.Event()
        for flowing in self._flowing.values():
            flowing.set()

    def cut(self) -> None:
        """Both sides see a reset."""
        self.was_cut.set()
        for writer in self._writers.values():
            writer.transport.abort()
        for flowing in self._flowing.values():
            flowing.set()

    def hold(self, way: Way) -> None:
        """Nothing gets through in this direction until the line is cut: the other end seems to have gone silent."""
        self._flowing[way].clear()

    def half_close(self, way: Way) -> None:
        """The receiver of this direction sees an end; the other direction goes on."""
        self._closed.add(way)
        self.end(way)

    def end(self, way: Way) -> None:
        with suppress(OSError, RuntimeError):  # closed by now
            self._writers[way].write_eof()

    def strand(self) -> None:
        """The server hears nothing more, not even the end, until the line is cut: the client's machine lost its power."""
        self.stranded = True
        self.hold(Way.TO_SERVER)

    async def carry(self, way: Way, source: asyncio.StreamReader, delay: Callable[[], float]) -> None:
        """Pump one direction until its end or a cut."""
        writer = self._writers[way]
        try:
            while data := await source.read(CHUNK):
                await asyncio.sleep(delay())
                await self._flowing[way].wait()
                if way in self._closed:  # said after the end: nobody hears it
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:  # reset: a proxy passes that on, too
            if not self.stranded:
                self.cut()
        if not self.stranded:
            self.end(way)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Proxy:
    """Stands before `targets` (host, port): each new connection goes to one that answers, as a load balancer does it."""

    def __init__(self, name: str, targets: Sequence[tuple[str, int]], seed: int = 0) -> None:
        self.name = name
        self.connections = 0
        self._targets = list(targets)
        self._random = random.Random(seed)
        self._delay_s = 0.0
        self._refusing = False
        self._lines: set[Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {name}", daemon=True)
        self._thread.start()
        self._server = self._wait(asyncio.start_server(self._serve, LOOPBACK, 0, backlog=BACKLOG))
        self.port = int(self._server.sockets[0].getsockname()[1])

    # -- faults --------------------------------------------------------------------------------------------------

    def retarget(self, targets: Sequence[tuple[str, int]]) -> None:
        """From now on other servers; all connections are cut."""
        self._targets = list(targets)
        self.cut(1.0)

    def cut(self, share: float) -> int:
        """Reset this share of the connections; returns how many."""
        return self._each(share, Line.cut)

    def half_close(self, way: Way, share: float, for_s: float) -> int:
        """Close one direction of some connections; after `for_s` they are cut."""
        return self._each(share, lambda line: line.half_close(way), for_s)

    def hold(self, way: Way, share: float, for_s: float) -> int:
        """Hold back one direction of some connections; after `for_s` they are cut."""
        return self._each(share, lambda line: line.hold(way), for_s)

    def strand(self, client_ports: Collection[int], for_s: float) -> int:
        """Of the connections from these ports the server hears nothing more, not even their end, for so long."""
        return self._each(1.0, lambda line: line.strand(), for_s, client_ports)

    def delay(self, seconds: float) -> None:
        """Every piece of data takes so much longer, in both directions."""
        self._delay_s = seconds

    def refuse(self, refusing: bool) -> None:  # noqa: FBT001 - on or off, named at every call
        """New connections are reset at once."""
        self._refusing = refusing

    def calm(self) -> None:
        """No faults any more. What is held back is cut."""
        self._delay_s, self._refusing = 0.0, False

    def close(self) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- the loop's side -----------------------------------------------------------------------------------------

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _each(
        self,
        share: float,
        act: Callable[[Line], None],
        cut_after_s: float | None = None,
        client_ports: Collection[int] | None = None,
    ) -> int:
        async def on_loop() -> int:
            lines = [line for line in self._lines if client_ports is None or line.client_port in client_ports]
            chosen = [line for line in lines if self._random.random() < share]
            for line in chosen:
                act(line)
                if cut_after_s is not None:
                    self._loop.call_later(cut_after_s, line.cut)
            return len(chosen)

        return self._wait(on_loop())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except asyncio.CancelledError:  # the proxy is closing
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = None if self._refusing else await self._reach()
        if found is None:
            writer.transport.abort()
            return
        self.connections += 1
        from_server, to_server = found
        line = Line(writer, to_server)
        self._lines.add(line)
        try:
            await asyncio.gather(
                line.carry(Way.TO_SERVER, reader, lambda: self._delay_s),
                line.carry(Way.TO_CLIENT, from_server, lambda: self._delay_s),
            )
        finally:
            if line.stranded:
                await line.was_cut.wait()
            self._lines.discard(line)
            line.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for host, port in self._random.sample(self._targets, len(self._targets)):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(host, port)
        return None

    async def _end(self) -> None:
        self._server.close()
        for line in list(self._lines):
            line.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
