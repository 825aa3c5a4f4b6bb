"""The console's ASGI application on aiohttp, over real connections."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp
from structlog.testing import capture_logs
from yarl import URL

from pipeline.console import failures
from pipeline.console.bridge import Bridge, Gone
from pipeline.http_server import HttpServer
from tests.unit.console_house import console_at
from tests.unit.raw_requests import statuses, told

LIMIT = 100_000
Visit = Callable[[aiohttp.ClientSession], Awaitable[None]]


def application(log: list[str]) -> FastAPI:
    app = FastAPI(openapi_url=None, max_body_size=LIMIT)

    @app.get("/cookies")
    def cookies() -> Response:
        answer = PlainTextResponse("two")
        answer.set_cookie("one", "1")
        answer.set_cookie("two", "2")
        return answer

    @app.api_route("/echo/{rest:path}", methods=["GET", "HEAD", "POST"])
    async def echo(request: Request, rest: str) -> dict[str, object]:
        scope = request.scope
        known = {name: scope[name] for name in ("method", "path", "http_version", "scheme", "client", "server")}
        raw, query = scope["raw_path"].decode(), scope["query_string"].decode()
        return known | {"rest": rest, "raw": raw, "query": query, "body": (await request.body()).decode("latin-1")}

    @app.get("/lines")
    def lines() -> StreamingResponse:
        return StreamingResponse(f"{number}\n" for number in range(2_000))

    @app.get("/endless")
    def endless() -> StreamingResponse:
        return StreamingResponse(chunks(b"x" * 65_536))

    @app.get("/not-yet")
    def not_yet() -> StreamingResponse:
        return StreamingResponse(chunks(b""))

    async def chunks(chunk: bytes) -> AsyncIterator[bytes]:
        try:
            while True:
                yield chunk
                await asyncio.sleep(0)
        finally:
            log.append("stopped")

    @app.get("/broken")
    def broken() -> StreamingResponse:
        def half() -> Iterator[str]:
            yield "first"
            raise ValueError("in the middle")

        return StreamingResponse(half())

    return app


def at_the_bridge(visit: Visit, log: list[str] | None = None, application_: ASGIApp | None = None) -> None:
    async def run() -> None:
        app = web.Application()

        async def door(_request: web.Request) -> web.Response:
            return web.Response(text="door")

        app.add_routes(
            [web.get("/door", door), Bridge(application_ or application([] if log is None else log)).route()]
        )
        server = HttpServer(app)
        address = await server.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://{address}") as session:
                await visit(session)
        finally:
            await server.close()

    asyncio.run(run())


def test_a_door_on_the_same_address_answers_for_itself() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get("/door") as answer:
            assert await answer.text() == "door"
        async with session.get("/nothing") as answer:
            assert answer.status == 404

    at_the_bridge(visit)


def test_an_address_with_a_line_break_is_the_applications_too() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get(URL("/nothing%0Ahere", encoded=True)) as answer:
            assert (answer.status, answer.content_type) == (404, "application/json")

    at_the_bridge(visit)


def test_two_cookies_in_one_answer_both_arrive() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get("/cookies") as answer:
            cookies = [value.partition(";")[0] for value in answer.headers.getall("Set-Cookie")]
            assert cookies == ["one=1", "two=2"]

    at_the_bridge(visit)


def test_the_application_is_told_what_was_asked() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get(URL("/echo/%E8%AE%A2%E5%8D%95%2Fa?b=%2F&c", encoded=True)) as answer:
            known = await answer.json()
        host, port = answer.url.host, answer.url.port
        assert known == {
            "method": "GET",
            "path": "/echo/订单/a",
            "raw": "/echo/%E8%AE%A2%E5%8D%95%2Fa",
            "query": "b=%2F&c",
            "rest": "订单/a",
            "http_version": "1.1",
            "scheme": "http",
            "client": ["127.0.0.1", 0],
            "server": [host, port],
            "body": "",
        }

    at_the_bridge(visit)


def test_a_head_has_headers_and_no_body() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.head("/echo/x") as answer:
            assert (answer.status, int(answer.headers["Content-Length"]) > 0, await answer.read()) == (200, True, b"")
        async with session.get("/echo/x") as answer:
            assert answer.status == 200, "the connection is still good"

    at_the_bridge(visit)


def test_a_body_arrives_whole_and_one_above_the_limit_not_at_all() -> None:
    async def parts(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 10_000):
            yield b"y" * 10_000

    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.post("/echo/x", data=b"y" * LIMIT) as answer:
            assert len((await answer.json())["body"]) == LIMIT
        async with session.post("/echo/x", data=parts(LIMIT)) as answer:
            assert len((await answer.json())["body"]) == LIMIT
        async with session.post("/echo/x", data=b"y" * (LIMIT + 1)) as answer:
            assert answer.status == 413
        async with session.post("/echo/x", data=parts(LIMIT + 10_000)) as answer:
            assert answer.status == 413

    at_the_bridge(visit)


def test_half_a_form_is_the_senders_fault_and_no_defect_of_the_console(tmp_path: Path) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: daifu\r\nContent-Type: application/x-www-form-urlencoded\r\n"

    async def visit(session: aiohttp.ClientSession) -> None:
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nname=\r\nno chunk\r\n"
        assert statuses(await told(session._base_url.port or 0, sent)) == [400]  # type: ignore[union-attr]

    with console_at("sqlite://", tmp_path, people=False) as house, capture_logs() as logged:
        at_the_bridge(visit, application_=house.app)
    assert not [line for line in logged if line["log_level"] == "error"]


def test_a_stream_arrives_as_it_is_made_and_a_handler_that_waits_for_the_end_holds_nobody_up() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get("/lines") as answer:
            assert "Content-Length" not in answer.headers
            assert (await answer.text()).count("\n") == 2_000

    at_the_bridge(visit)


@pytest.mark.parametrize("path", ["/endless", "/not-yet"])
def test_who_streams_is_told_that_the_browser_went(path: str) -> None:
    log: list[str] = []

    async def visit(session: aiohttp.ClientSession) -> None:
        answer = await session.get(path)
        answer.close()
        async with asyncio.timeout(20):
            while not log:
                gc.collect()  # a generator that nobody goes on with is closed with it
                async with session.get("/door") as other:  # the loop has turns to give
                    assert other.status == 200

    at_the_bridge(visit, log)
    assert log == ["stopped"]


@pytest.mark.parametrize(("error", "logged"), [(Gone(), "console_browser_gone"), (ValueError(), "console_failed")])
def test_a_browser_that_goes_is_no_failure_of_the_console(error: Exception, logged: str) -> None:
    app = FastAPI(openapi_url=None)
    failures.install(app)

    @app.get("/api/v1/answer")
    def answer() -> None:
        raise error

    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get("/api/v1/answer") as answered:
            assert answered.status == 500

    with capture_logs() as lines:
        at_the_bridge(visit, application_=app)
    assert [line["event"] for line in lines] == [logged]


def test_a_stream_that_breaks_is_not_taken_for_whole_and_is_in_the_log() -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        async with session.get("/broken") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    with capture_logs() as logged:
        at_the_bridge(visit)
    assert [line["event"] for line in logged] == ["console_broke_off"]


@pytest.mark.parametrize("host", [b"x:99999", b"x:y", b"\xff", b"http://x", b"[::1", b"", b"evil.example/api/"])
def test_a_host_that_is_none_is_no_defect(host: bytes) -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        address = session._base_url
        assert address is not None
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /anything HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        line = await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        assert int(line.split()[1]) < 500, line

    at_the_bridge(visit)


@pytest.mark.parametrize(
    ("target", "status"),
    [(b"/orders?quick=\xbe", 400), (b"/or\xbeders", 400), (b"/orders/\xed\xb2\x93/", 400), (b"/%BE?next=%BE", 404)],
)
def test_bytes_in_an_address_that_are_no_ascii_never_reach_the_console(
    tmp_path: Path, target: bytes, status: int
) -> None:
    """Starlette, which reads an address as UTF-8, would raise over them."""

    async def run() -> bytes:
        app = web.Application()
        with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
            app.add_routes([Bridge(house.app).route()])
            server = HttpServer(app)
            await server.start("127.0.0.1", 0)
            port = int(server.address.rpartition(":")[2])
            answer = await told(port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await server.close()
        return answer

    assert statuses(asyncio.run(run())) == [status]
