"""One table of raw requests, run against every HTTP port: what hides a request in another's body, and what is no HTTP, gets a 4xx or
a closed connection, never a second answer, never a 5xx, and the port goes on answering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from pipeline import health, http_server
from pipeline.clock import WallClock
from pipeline.health import HealthServer, LoopTick
from pipeline.metrics import Metrics
from pipeline.railway.sandbox.web import serve
from pipeline.railway.sandbox.world import open_world
from pipeline.settings import split_listen
from tests.fuzz.servers import TOKEN, doors, serving
from tests.unit.agents_visit import NEED_PAY, PURCHASE, signed
from tests.unit.raw_requests import GARBAGE, HIDDEN, SERVED, SMUGGLED, length, post, statuses, told

PASSWORD = b"an-invented-password"


class Port(NamedTuple):
    """A listening port, and a request that it answers 200."""

    number: int
    good: bytes


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: daifu", "Connection: close", *headers, "", "")).encode()


@asynccontextmanager
async def the_doors(path: str, *headers: str) -> AsyncIterator[Port]:
    async with serving(doors()) as server:
        yield Port(split_listen(server.address)[1], get(path, *headers))


@asynccontextmanager
async def the_health_port() -> AsyncIterator[Port]:
    server = HealthServer(LoopTick(WallClock()), {}, Metrics())
    try:
        yield Port(split_listen(await server.start("127.0.0.1", 0))[1], get("/metrics"))
    finally:
        await server.close()


@asynccontextmanager
async def the_sandbox() -> AsyncIterator[Port]:
    world = open_world(WallClock(), None)
    server = await serve(world, "127.0.0.1", 0)
    try:
        yield Port(server.port, get("/sandbox/journal"))
    finally:
        await server.close()
        world.close()


PORTS: dict[str, Callable[[], AbstractAsyncContextManager[Port]]] = {
    "agents": lambda: the_doors(f"{PURCHASE}"),
    "am": lambda: the_doors("/am/vault-key", f"Authorization: Bearer {TOKEN}"),
    "console": lambda: the_doors("/login"),
    "health": the_health_port,
    "sandbox": the_sandbox,
}


def at(port: str, visit: Callable[[Port], Awaitable[None]]) -> None:
    async def run() -> None:
        async with PORTS[port]() as here:
            await visit(here)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing more is left at once."""
    for module, name in (
        (http_server, "IDLE_S"),
        (http_server, "BODY_S"),
        (http_server, "LINGER_S"),
        (health, "HEAD_S"),
    ):
        monkeypatch.setattr(module, name, 0.5)


def to(port: str, sent: bytes) -> bytes:
    """The same bytes, to a path that is this port's own."""
    path = {"agents": PURCHASE.encode(), "am": b"/am/messages", "sandbox": b"/sandbox/holds"}.get(port, b"/any")
    return sent.replace(b" /any ", b" " + path + b" ", 1)


async def refused(here: Port, port: str, name: str, sent: bytes) -> None:
    """Nothing, or one 4xx; of it nothing that was sent."""
    answer = await told(here.number, to(port, sent))
    found = statuses(answer)
    assert len(found) <= 1, (name, answer)
    assert all(400 <= status < 500 for status in found), (name, answer)
    assert b"hidden" not in answer or port == "sandbox", name


@pytest.mark.parametrize("port", PORTS)
def test_a_hidden_request_and_what_is_no_http_are_refused_and_the_port_goes_on(port: str) -> None:
    async def visit(here: Port) -> None:
        forms = SMUGGLED | (GARBAGE if port != "sandbox" else {})  # the sandbox is for us alone
        await asyncio.gather(*(refused(here, port, name, sent) for name, sent in forms.items()))
        assert statuses(await told(here.number, here.good)) == [200]

    at(port, visit)


@pytest.mark.parametrize("port", ["agents", "am", "console"])
def test_a_form_that_http_allows_is_one_request_and_its_body_is_its_body(port: str) -> None:
    async def visit(here: Port) -> None:
        for name, sent in SERVED.items():
            answer = await told(here.number, to(port, sent))
            found = [status for status in statuses(answer) if status >= 200]
            assert len(found) == 1, (name, answer)
            assert found[0] < 500, (name, answer)
        assert statuses(await told(here.number, here.good)) == [200]

    at(port, visit)


@pytest.mark.parametrize("port", ["agents", "am", "console"])
def test_after_an_error_nothing_of_a_connection_is_read(port: str) -> None:
    async def visit(here: Port) -> None:
        good = here.good.replace(b"Connection: close\r\n", b"")
        found = statuses(await told(here.number, good + b"\x00 garbage\r\n\r\n" + good))
        assert found in ([400], [200, 400])  # of what came with garbage, aiohttp answers what it had begun with
        assert statuses(await told(here.number, SMUGGLED["two lengths"] + good)) == [400]

    at(port, visit)


@pytest.mark.parametrize("port", ["agents", "am", "console", "health"])
def test_what_is_refused_unread_holds_no_further_request(port: str) -> None:
    """A body that is too long, or that nobody asked for: it is not taken for requests when its own was answered without it."""

    async def visit(here: Port) -> None:
        sent = to(port, post(length(50_000_000), b"Content-Type: application/x-www-form-urlencoded", body=HIDDEN * 50))
        assert len(statuses(await told(here.number, sent))) <= 1

    at(port, visit)


@pytest.mark.parametrize("port", ["agents", "am", "console"])
def test_bytes_that_were_taken_for_a_request_are_in_no_answer_and_no_log(
    port: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that counts its body too short sends the rest of its form, password and all, as a request."""
    form = urlencode(signed(NEED_PAY)).encode() + b"&pw=" + PASSWORD
    packed = post(length(4), b"Content-Encoding: gzip", b"Connection: close", body=PASSWORD)

    async def visit(here: Port) -> None:
        for sent in (to(port, post(length(10), body=form)), to(port, packed), PASSWORD * 600 + b"\r\n\r\n"):
            answer = await told(here.number, sent)
            assert PASSWORD not in answer
            assert b"Python" not in answer or statuses(answer) != [400]  # aiohttp's name and version

    with capture_logs() as logged:
        at(port, visit)
    assert {line["event"] for line in logged} <= {"door_refused"}
    assert PASSWORD.decode() not in str(logged)
    said = capfd.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize("port", ["am", "console"])
@pytest.mark.parametrize(
    "body", [b"5\r\nhel", b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n"], ids=["cut", "no chunk", "without end"]
)
def test_a_body_that_breaks_off_is_the_senders_fault(port: str, body: bytes) -> None:
    form = b"Content-Type: application/x-www-form-urlencoded"
    head = post(b"Transfer-Encoding: chunked", form, f"Authorization: Bearer {TOKEN}".encode(), body=body)

    async def visit(here: Port) -> None:
        found = statuses(await told(here.number, to(port, head)))
        assert found in ([400], [413])
        assert statuses(await told(here.number, here.good)) == [200]

    with capture_logs() as logged:
        at(port, visit)
    assert logged == []
