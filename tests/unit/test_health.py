"""The health port: three paths, one answer each, and nobody can hold it up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from pipeline import health
from pipeline.clock import WallClock
from pipeline.health import HealthServer, LoopTick
from pipeline.metrics import Metrics
from pipeline.settings import split_listen


class Clock(WallClock):
    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def server(clock: Clock, *, database: bool = True) -> HealthServer:
    return HealthServer(LoopTick(clock), {"payment": lambda: True, "database": lambda: database}, Metrics())


def test_alive_is_a_loop_that_has_ticked_lately() -> None:
    clock = Clock()
    port = server(clock)
    assert port.answer("GET", "/livez")[:2] == (200, b'{"ok": true, "checks": {"loop": true}}')
    clock.seconds = health.STALE_S
    assert port.answer("GET", "/livez").status == 503


def test_ready_names_what_is_missing() -> None:
    assert server(Clock()).answer("GET", "/readyz?verbose").status == 200
    said = server(Clock(), database=False).answer("GET", "/readyz")
    assert (said.status, json.loads(said.body)["checks"]) == (503, {"payment": True, "database": False})


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/livez", 405), ("HEAD", "/livez", 200)]
)
def test_everything_else_is_refused(method: str, path: str, status: int) -> None:
    assert server(Clock()).answer(method, path).status == status


def over_tcp(talk: Callable[[str, int], Awaitable[bytes]]) -> bytes:
    async def main() -> bytes:
        port = server(Clock())
        try:
            return await talk(*split_listen(await port.start("127.0.0.1", 0)))
        finally:
            await port.close()

    return asyncio.run(main())


async def say(host: str, port: int, words: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(words)
        return await reader.read()
    finally:
        writer.close()


def test_metrics_come_whole_and_the_connection_ends() -> None:
    answer = over_tcp(lambda host, port: say(host, port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Length: %d" % len(body) in head
    assert b"daifu_in_doubt" in body


def test_what_is_no_request_is_told_so() -> None:
    assert over_tcp(lambda host, port: say(host, port, b"\x16\x03\x01\r\n\r\n")).startswith(b"HTTP/1.1 400")


def test_a_head_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEAD_S", 0.05)
    assert over_tcp(lambda host, port: say(host, port, b"GET /livez HT")) == b""
    assert over_tcp(lambda host, port: say(host, port, b"x" * (health.HEAD_MAX * 2))) == b""


def test_close_does_not_wait_for_who_says_nothing() -> None:
    async def main() -> None:
        port = server(Clock())
        host, number = split_listen(await port.start("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection(host, number)
        await asyncio.sleep(0)
        await asyncio.wait_for(port.close(), 5)
        assert await reader.read() == b""
        writer.close()

    asyncio.run(main())
