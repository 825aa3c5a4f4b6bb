"""What one caller may take from a port: time for its body and its answer, connections, requests a second."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from pipeline import health, http_server
from pipeline.clock import WallClock
from pipeline.health import HealthServer, LoopTick
from pipeline.http_server import HttpServer
from pipeline.metrics import Metrics
from pipeline.settings import split_listen
from producers import rate_limit
from producers.address_rate import AddressRate
from producers.rate_limit import RateLimit
from tests.fuzz.servers import TOKEN, doors, serving
from tests.unit.raw_requests import length, post, statuses, told
from tests.unit.test_agents_door_limits import StillClock

FORM = b"Content-Type: application/x-www-form-urlencoded"
GET = b"GET /any HTTP/1.1\r\nHost: daifu\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


def big() -> web.Application:
    """More than a connection holds on its way; once in one piece, once as it is made."""
    app = web.Application()

    async def whole(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 50_000_000)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    app.add_routes([web.get("/any", whole), web.get("/stream", stream)])
    return app


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", [b"/am/messages", b"/login"])
@pytest.mark.parametrize("sent", [b"", b"a=b"])
def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, path: bytes, sent: bytes) -> None:
    monkeypatch.setattr(http_server, "BODY_S", 0.2)
    line, token = b"POST %b HTTP/1.1" % path, f"Authorization: Bearer {TOKEN}".encode()

    async def run() -> list[int]:
        async with serving(doors()) as server:
            port = split_listen(server.address)[1]
            return statuses(await told(port, post(length(1_000), FORM, token, line=line, body=sent)))

    with capture_logs() as logged:
        assert asyncio.run(run()) == [400]
    assert logged == []


@pytest.mark.parametrize("path", [b"/any", b"/stream"])
def test_who_takes_nothing_of_an_answer_is_dropped(monkeypatch: pytest.MonkeyPatch, path: bytes) -> None:
    monkeypatch.setattr(http_server, "STALLED_S", 0.3)

    async def run() -> None:
        async with serving(big()) as server:
            _, writer = await asyncio.open_connection(*split_listen(server.address))
            writer.write((GET % b"").replace(b"/any", path))
            await until(lambda: server.callers["127.0.0.1"] == 1)
            await until(lambda: not server.callers)
            writer.transport.abort()

    with capture_logs() as logged:
        asyncio.run(run())
    assert logged == []


def test_who_takes_an_answer_slowly_gets_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "STALLED_S", 30.0)

    async def run() -> int:
        async with serving(big()) as server:
            reader, writer = await asyncio.open_connection(*split_listen(server.address))
            writer.write(GET % CLOSE)
            await reader.readuntil(b"\r\n\r\n")
            found = 0
            while chunk := await reader.read(1_000_000):
                found += len(chunk)
            writer.transport.abort()
            return found

    assert asyncio.run(run()) == 50_000_000


@asynccontextmanager
async def crowded(connect: Callable[[], Awaitable[Any]], most: int) -> AsyncIterator[list[Any]]:
    """`most` connections that say nothing."""
    made = [await connect() for _ in range(most)]
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


@pytest.mark.parametrize("port", ["doors", "health"])
def test_an_address_has_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(health, "MOST_CONNECTIONS", 4)
    line = GET % CLOSE if port == "doors" else b"GET /livez HTTP/1.1\r\n\r\n"

    async def visit(number: int) -> None:
        async with crowded(lambda: asyncio.open_connection("127.0.0.1", number), 4) as made:
            await asyncio.sleep(0)
            assert await told(number, line) == b""
            made[0][1].close()
            await made[0][1].wait_closed()
            async with asyncio.timeout(30):
                while not (answer := await told(number, line)):
                    pass
            assert len(statuses(answer)) == 1

    async def run() -> None:
        if port == "doors":
            async with serving(doors()) as server:
                await visit(split_listen(server.address)[1])
            return
        small = HealthServer(LoopTick(WallClock()), {}, Metrics())
        await visit(split_listen(await small.start("127.0.0.1", 0))[1])
        await small.close()

    asyncio.run(run())


def with_rate(rate: float, proxies: str | None = None) -> tuple[web.Application, StillClock]:
    """An application with a rate by address, and agents under /api."""
    clock = StillClock()
    networks = () if proxies is None else (ip_network(proxies),)
    addresses = AddressRate(RateLimit(rate, clock), networks)  # type: ignore[arg-type] # only its monotonic time is asked for
    addresses.refuse_by("/api/", lambda _: web.json_response({"errCode": "429"}))
    app = web.Application(middlewares=[addresses.middleware])

    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="fine")

    app.add_routes([web.route("*", "/{path:.*}", fine)])
    return app, clock


async def asked(server: HttpServer, path: str = "/any", *headers: str) -> tuple[int, str]:
    sent = "\r\n".join((f"GET {path} HTTP/1.1", "Host: daifu", "Connection: close", *headers, "", "")).encode()
    answer = await told(split_listen(server.address)[1], sent)
    return statuses(answer)[0], answer.partition(b"\r\n\r\n")[2].decode()


def test_an_address_that_asks_too_often_is_told_so_each_port_in_its_own_way() -> None:
    app, clock = with_rate(3.0)

    async def run() -> None:
        async with serving(app) as server:
            assert [(await asked(server))[0] for _ in range(4)] == [200, 200, 200, 429]
            status, body = await asked(server, "/api/pub/ProcessPurchase.do")
            assert (status, json.loads(body)) == (200, {"errCode": "429"})
            clock.at = 1.0
            assert (await asked(server))[0] == 200

    asyncio.run(run())


def test_behind_a_proxy_of_ours_each_caller_counts_for_itself_and_an_ipv6_network_as_one() -> None:
    app, _ = with_rate(1.0, "127.0.0.0/8")

    async def run() -> None:
        async with serving(app) as server:
            for forwarded, status in (
                ("192.0.2.1", 200),
                ("192.0.2.2", 200),
                ("192.0.2.9, 192.0.2.1", 429),  # what the caller itself wrote in front does not count
                ("2400:3200::1", 200),
                ("2400:3200::ffff", 429),
                ("2400:3200:0:1::1", 200),
                ("2400:3200:0:1::1%eth0", 429),
                ("no address", 200),  # the proxy itself
                ("neither", 429),
            ):
                found, _ = await asked(server, "/any", f"X-Forwarded-For: {forwarded}")
                assert found == status, forwarded

    asyncio.run(run())


def test_from_anybody_else_a_forwarded_address_counts_for_nothing() -> None:
    app, _ = with_rate(1.0)

    async def run() -> list[int]:
        async with serving(app) as server:
            return [(await asked(server, "/any", f"X-Forwarded-For: 192.0.2.{number}"))[0] for number in range(2)]

    assert asyncio.run(run()) == [200, 429]


def test_addresses_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MOST_KEPT", 3)
    limit = RateLimit(1.0, StillClock())  # type: ignore[arg-type] # only its monotonic time is asked for
    assert [limit.allows(caller) for caller in "abc"] == [True] * 3
    assert not limit.allows("a")
    assert limit.allows("d")  # and b, which asked longest ago, is forgotten
    assert [limit.allows(caller) for caller in "acb"] == [False, False, True]
