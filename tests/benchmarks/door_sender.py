"""One program of an agent, in a process of its own so that it measures the door and not its neighbours: sends given requests at
fixed times over kept connections. JSON in on stdin, JSON out on stdout (`Sending`, `Sent`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final

LATEST_S: Final = 30.0  # an answer that takes longer is none


@dataclass(frozen=True, slots=True)
class Sending:
    """`count` requests, `requests` over and over, `per_s` of them a second from `begin` on (`time.monotonic`, one machine)."""

    host: str
    port: int
    requests: list[str]
    count: int
    per_s: int
    lines: int
    begin: float


@dataclass(frozen=True, slots=True)
class Sent:
    """Milliseconds from the moment each was there to send to its answer, waits for a free line included; how late the sender
    itself was (99 of 100, no part of `took_ms`); how many were not answered `ret:true`."""

    took_ms: list[float]
    late_ms: float
    failed: int


class Line(asyncio.Protocol):
    """A kept connection; one request at a time. Times are taken as the bytes are read."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, content: bytes, since: float) -> None:
        assert self._transport is not None
        self._since, self._read = since, b""
        self._transport.write(content)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._read += data
        head, ended, body = self._read.partition(b"\r\n\r\n")
        if ended and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self._crew.answered(self, now - self._since, good=b'"ret":true' in body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crew.lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Crew:
    """The lines of one program: a request takes a free one, or waits for it."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._all: list[Line] = []
        self._free: deque[Line] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._took: list[float] = []
        self._failed = 0
        self._done = asyncio.Event()

    async def run(self) -> Sent:
        """Connections are made before the first is due: what that takes is not measured."""
        sending, loop = self._sending, asyncio.get_running_loop()
        contents = [text.encode() for text in sending.requests]
        for _ in range(sending.lines):
            _, line = await loop.create_connection(lambda: Line(self), sending.host, sending.port)
            self._all.append(line)
        self._free.extend(self._all)
        late = []
        for place in range(sending.count):
            due = sending.begin + place / sending.per_s
            if (rest := due - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            now = time.monotonic()
            late.append(now - due)
            self._waiting.append((contents[place % len(contents)], now))
            self._hand_out()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LATEST_S):
                await self._done.wait()
        unanswered = sending.count - len(self._took)
        for line in self._all:
            line.close()
        late_ms = 1000 * sorted(late)[int(len(late) * 0.99)]
        return Sent([1000 * took for took in self._took], late_ms, self._failed + unanswered)

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            content, since = self._waiting.popleft()
            self._free.popleft().send(content, since)

    def answered(self, line: Line, took: float, *, good: bool) -> None:
        self._took.append(took)
        self._failed += not good
        self._free.append(line)
        self._hand_out()
        if len(self._took) == self._sending.count:
            self._done.set()

    def lost(self) -> None:
        """A line that the door closed is none any more; what was on it stays unanswered."""
        self._done.set()


def main() -> int:
    given: dict[str, Any] = json.load(sys.stdin)
    gc.disable()  # a pause here would be measured as the door's
    print(json.dumps(asdict(asyncio.run(Crew(Sending(**given)).run()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
