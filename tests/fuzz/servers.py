"""Raw bytes at the HTTP ports, without a network: the agents' door beside the AM door and the console's bridge, and the health port."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamReaderProtocol
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import urlencode

import h11
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from pipeline.clock import WallClock
from pipeline.console.bridge import Bridge
from pipeline.console.shell import Shell
from pipeline.health import HEAD_MAX, HealthServer, LoopTick
from pipeline.http_server import HttpServer
from pipeline.metrics import Metrics
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.vault import KeyRing
from producers.agents_door import AgentsDoor
from producers.agents_reading import Rules
from producers.am_door import am_routes
from producers.rate_limit import RateLimit
from schemas.am_messages import TYPES, AmMessage
from tests.fuzz.parser import Parser, Take
from tests.unit.agents_visit import GO_PAY, NEED_PAY, PURCHASE, QUERY, FakeDesk, signed
from tests.unit.message_samples import body
from tests.unit.raw_requests import GARBAGE, HIDDEN, SMUGGLED, post, statuses

TOKEN: Final = "token-of-a-test"
TURNS: Final = 12  # of the loop, until whatever can be answered is


class Wire(asyncio.Transport):
    """A connection that keeps what is written to it. Like a socket's, it tells its protocol of the end on the loop's next turn."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self._protocol, self._closing = protocol, False
        self.written = bytearray()

    def write(self, data: Any) -> None:
        if not self._closing:
            self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Everything was fed at once."""

    def resume_reading(self) -> None:
        """The same."""

    def get_write_buffer_size(self) -> int:
        return 0


async def answered(connect: Callable[[], asyncio.Protocol], data: bytes) -> bytes:
    """What a server writes to a caller that sends `data` in two pieces, waits, and goes."""
    protocol = connect()
    wire = Wire(protocol)
    protocol.connection_made(wire)
    half = len(data) // 2
    for piece in (data[:half], data[half:]):
        if not wire.is_closing():
            protocol.data_received(piece)
        for _ in range(TURNS):
            await asyncio.sleep(0)
    wire.close()
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return bytes(wire.written)


# -- the doors ----------------------------------------------------------------------------------------------------


async def echo(request: Request) -> Response:
    """As a page that reads its form."""
    told = {"path": request.url.path, "query": list(request.query_params.items())}
    if request.method != "POST":
        return JSONResponse(told)
    async with request.form() as form:
        return JSONResponse(told | {"fields": len(form)})


def doors() -> web.Application:
    """As `daifu serve` has them, without a database."""

    async def accept(messages: list[AmMessage]) -> list[str]:
        return ["accepted" for _ in messages]

    vault, service = KeyRing.generate(), KeyRing.generate()
    rules = Rules("pw", password_signed=True, vault_key=vault.public, fingerprint=service.fingerprint)
    app = web.Application()
    app.add_routes(am_routes(accept, lambda: ("k1", "A" * 43), Secret(TOKEN)))
    app.add_routes(AgentsDoor(FakeDesk(), rules, RateLimit(1e9, WallClock()), Metrics().answered).routes())
    proxies = Settings.model_validate({"console_proxies": "192.0.2.0/24"}).console_proxies
    pages = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    app.add_routes([Bridge(Shell(pages, proxies)).route()])
    return app


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[HttpServer]:
    server = HttpServer(app)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()


@contextmanager
def http_doors() -> Iterator[Take]:
    """No answer is a 5xx, and nothing goes wrong behind it."""
    with asyncio.Runner() as runner, capture_logs() as logged:
        context = serving(doors())
        server = runner.run(context.__aenter__())
        noted: list[Any] = []
        runner.get_loop().set_exception_handler(lambda _loop, what: noted.append(what))

        def take(data: bytes) -> None:
            answer = runner.run(answered(server.connection, data))
            assert not [status for status in statuses(answer) if status >= 500], answer[:200]
            assert not noted, noted
            assert not [line for line in logged if line["log_level"] == "error"], logged
            logged.clear()

        yield take
        runner.run(context.__aexit__(None, None, None))


def door_seeds() -> list[bytes]:
    def http(method: str, path: str, content: bytes = b"", *headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: daifu", f"Content-Length: {len(content)}", *headers, "", ""]
        return "\r\n".join(lines).encode() + content

    form = "Content-Type: application/x-www-form-urlencoded"
    need_pay, pay = urlencode(signed(NEED_PAY)).encode(), {"merchantCode": NEED_PAY["merchantCode"], "price": "631.0"}
    parts = b'--x\r\nContent-Disposition: form-data; name="file"; filename="bill.csv"\r\n\r\n1,2\r\n--x--\r\n'
    chunked = (
        PURCHASE.encode(),
        b"Transfer-Encoding: chunked\r\nContent-Type: text/plain",
        b"5;a=b\r\nopt=N\r\n0\r\nX: y\r\n\r\n",
    )
    return [
        http("POST", PURCHASE, need_pay, form),
        http("POST", GO_PAY, urlencode(signed({**pay, "orderNo": NEED_PAY["orderNo"], "un": "agent_user01"})).encode(), form),
        http("GET", f"{QUERY}?{urlencode(signed({'merchantCode': NEED_PAY['merchantCode'], 'type': 'WAIT_TICKET'}))}"),
        *(http("POST", "/am/messages", body(kind), f"Authorization: Bearer {TOKEN}") for kind in TYPES[:2]),
        http("GET", "/am/vault-key", b"", f"Authorization: Bearer {TOKEN}"),
        http("GET", "/orders?quick=paid&page=2", b"", "Cookie: daifu_session=x", "X-Forwarded-For: 192.0.2.9, 203.0.113.7"),
        http("POST", "/login", b"name=alice&password=x&csrf=y", form, "X-Forwarded-Proto: https"),
        http("POST", "/reconciliation", parts, "Content-Type: multipart/form-data; boundary=x"),
        b"POST %b HTTP/1.1\r\nHost: daifu\r\n%b\r\n\r\n%b" % chunked,
        http("POST", PURCHASE, b"opt=", "Expect: 100-continue", "Content-Encoding: gzip"),
        http("GET", "/login", b"", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x"),
    ]  # fmt: skip


# -- where a request ends -----------------------------------------------------------------------------------------


@contextmanager
def http_framing() -> Iterator[Take]:
    """Requests reach the application as another reader of HTTP, h11, finds them in the same bytes, or less of them do: who
    stands in front of us can be led to no other view of where a request ends."""
    taken: list[tuple[bytes, bytes]] = []

    async def note(request: web.Request) -> web.Response:
        taken.append((request.raw_path.encode("utf-8", "surrogateescape"), await request.read()))
        return web.Response()

    app = web.Application(client_max_size=1_000_000)
    app.add_routes([web.route("*", "/{path:(?s:.*)}", note)])
    with asyncio.Runner() as runner:
        context = serving(app)
        server = runner.run(context.__aenter__())

        def take(data: bytes) -> None:
            taken.clear()
            answer = runner.run(answered(server.connection, data))
            assert not [status for status in statuses(answer) if status >= 500], answer[:200]
            found = requests_in(data)
            if found is not None:
                assert taken == found[: len(taken)], (taken, found)

        yield take
        runner.run(context.__aexit__(None, None, None))


def requests_in(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """(target, body) of every whole request, by h11; None where it refuses a part of the bytes, or where content is packed."""
    reader, found = h11.Connection(h11.SERVER), []
    reader.receive_data(data)
    target, content = b"", bytearray()
    try:
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                target, content = event.target, bytearray()
                if (
                    any(name in (b"content-encoding", b"upgrade") for name, _ in event.headers)
                    or event.method == b"CONNECT"
                ):
                    return None
            elif isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((target, bytes(content)))
                reader.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                reader.send(h11.EndOfMessage())
                if reader.our_state is not h11.DONE or reader.their_state is not h11.DONE:
                    return found
                reader.start_next_cycle()
            else:
                return found
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return None


def framing_seeds() -> list[bytes]:
    one = post(b"Content-Length: 5", body=b"hello")
    chunked = post(b"Transfer-Encoding: chunked", body=b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n")
    return [one * 2, chunked + HIDDEN, *SMUGGLED.values(), *(raw for raw in GARBAGE.values() if len(raw) < 1_000)]


# -- the health port ----------------------------------------------------------------------------------------------


@contextmanager
def http_health() -> Iterator[Take]:
    """One answer at most, and no 5xx but a 503: a dependency is away, or the loop has stood still between two inputs."""
    with asyncio.Runner() as runner:
        port = HealthServer(LoopTick(WallClock()), {"database": lambda: True}, Metrics())

        def take(data: bytes) -> None:
            answer = runner.run(answered(lambda: StreamReaderProtocol(StreamReader(limit=HEAD_MAX), port.talk), data))
            assert len(statuses(answer)) <= 1
            assert not [status for status in statuses(answer) if status >= 500 and status != 503], answer[:200]

        yield take


def health_seeds() -> list[bytes]:
    heads = (
        b"GET /livez HTTP/1.1",
        b"HEAD /readyz?verbose HTTP/1.0",
        b"GET /metrics HTTP/1.1",
        b"POST /livez HTTP/1.1",
    )
    return [head + b"\r\nHost: daifu\r\n\r\n" for head in heads]


_WORDS = (
    b"\r\n", b"\n", b"\r\n\r\n", b"\r\n ", b"Transfer-Encoding: chunked", b"Content-Length: ", b"0\r\n\r\n", b"HTTP/1.0", b"HTTP/1.1",
    b"Expect: 100-continue", b"Connection: close", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Encoding: gzip", b"HEAD ",
    b"OPTIONS * ", b"http://daifu/", b"Host: daifu", b"\x00", b"%00", b"%2f..", b"?", b"#", b";", HIDDEN,
)  # fmt: skip

PARSERS = (
    Parser(
        "http_doors", http_doors, door_seeds, _WORDS,
        ("pipeline.http_server", "producers.agents_door", "producers.am_door", "pipeline.console.bridge", "pipeline.console.shell",
         "pipeline.console.caller"),
        60,
    ),
    Parser("http_framing", http_framing, framing_seeds, _WORDS, ("pipeline.http_server",), 60),
    Parser("http_health", http_health, health_seeds, _WORDS, ("pipeline.health",), 60, 1_024),
)  # fmt: skip
