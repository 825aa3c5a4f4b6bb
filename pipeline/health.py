"""`/livez`: the loop ticks. `/readyz`: what this process depends on is there. `/metrics`: Prometheus.

A server of its own, small enough that a worker need not load an HTTP framework for it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from pipeline.metrics import Metrics
from pipeline.ports import Clock

TICK_S = 0.5
STALE_S = 10.0  # a loop that has not ticked for so long is dead
HEAD_S: Final = 15.0  # a connection that has not sent a whole request head by then is closed
HEAD_MAX: Final = 16_384  # bytes of a request head
MOST_CONNECTIONS: Final = 100  # at once from one address
JSON: Final = "application/json; charset=utf-8"
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (/[!-~]*) HTTP/1\.[01]")
_WORDS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class LoopTick:
    """Knows when the event loop last had a turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()

    def ago(self) -> float:
        """Seconds since the loop last ticked; may be asked from any thread."""
        return self._clock.monotonic() - self._last

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self._last = self._clock.monotonic()
            await asyncio.sleep(TICK_S)


class Answer(NamedTuple):
    status: int
    body: bytes
    content_type: str = JSON


class HealthServer:
    """Answers the three paths on one address, one request per connection. `checks` are asked at every `/readyz`."""

    def __init__(self, tick: LoopTick, checks: Mapping[str, Callable[[], bool]], metrics: Metrics) -> None:
        self._tick, self._checks, self._metrics = tick, checks, metrics
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._callers: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> str:
        """Listen; returns `host:port` as bound. Raises OSError."""
        self._server = await asyncio.start_server(self.talk, host, port, limit=HEAD_MAX)
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        return f"{bound_host}:{bound_port}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def answer(self, method: str, path: str) -> Answer:
        """What a request gets. Query strings are ignored."""
        if method not in ("GET", "HEAD"):
            return Answer(405, b"")
        match path.partition("?")[0]:
            case "/livez":
                alive = self._tick.ago() < STALE_S
                return _verdict({"loop": alive})
            case "/readyz":
                return _verdict({name: check() for name, check in self._checks.items()})
            case "/metrics":
                return Answer(200, self._metrics.text(), PROMETHEUS)
        return Answer(404, b"")

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None  # noqa: S101 - a stream's handler runs in a task
        caller = str((writer.get_extra_info("peername") or [""])[0])
        self._talks.add(talk)
        self._callers[caller] += 1
        try:
            async with asyncio.timeout(HEAD_S):
                if self._callers[caller] <= MOST_CONNECTIONS:
                    await self._answer_one(reader, writer)
                    writer.close()
                    await writer.wait_closed()  # an answer that nobody takes keeps no connection
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # whoever asked is gone, or never really asked
        finally:
            self._talks.discard(talk)
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One head is read and answered. A body is not read: with the connection it is gone, whatever it holds."""
        head = await reader.readuntil(b"\r\n\r\n")
        found = _REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0])
        method = "" if found is None else found[1].decode()
        said = Answer(400, b"") if found is None else self.answer(method, found[2].decode())
        lines = (
            f"HTTP/1.1 {said.status} {_WORDS[said.status]}",
            f"Content-Type: {said.content_type}",
            f"Content-Length: {len(said.body)}",
            "Connection: close",
        )
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else said.body))
        await writer.drain()


def _verdict(checks: Mapping[str, bool]) -> Answer:
    fine = all(checks.values())
    return Answer(200 if fine else 503, json.dumps({"ok": fine, "checks": checks}).encode())
