"""ASGI on aiohttp: the console answers on the address of the agents' interface, whose routes stay aiohttp's own.

Why not aiohttp-asgi 0.7: of two cookies in one answer it loses one; it never says that a browser went, so that a streamed
answer spins on its `receive` and holds the loop; half an answer looks whole; it calls most requests HTTP/1.0.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiohttp import web
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message

from pipeline.console.visit import place_of

log = structlog.get_logger()
READ_BYTES = 65_536


class Gone(ConnectionError):
    """The browser went before its answer was whole. An OSError, as ASGI 2.4 wants it."""


class Bridge:
    """Handles requests of an aiohttp application with an ASGI application. No WebSocket, no lifespan: the console has neither."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def route(self) -> web.RouteDef:
        """Everything that no other route takes: add it last. A path may hold a line break, which `.` alone does not match."""
        return web.route("*", "/{path:(?s:.*)}", self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        exchange, scope = _Exchange(request), _scope_of(request)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.response is None:
                raise
            if not exchange.is_over:
                _break_off(request, place_of(scope), error)
            # Else Starlette raises on what was answered as 500 and logged: nobody needs it twice.
        if exchange.response is None:
            raise RuntimeError("the application answered nothing")
        return exchange.response


def _break_off(request: web.Request, place: str, error: Exception) -> None:
    """Half an answer must not look like a whole one; where the browser went first, there is nothing to say."""
    if not isinstance(error, Gone | ClientDisconnect):
        log.error("console_broke_off", path=place, exc_info=error)
    if request.transport is not None:
        request.transport.abort()


def _scope_of(request: web.Request) -> dict[str, Any]:
    # The address that was connected to, and not the one that the Host header claims: that may be no address at all.
    host, port = (request.get_extra_info("sockname") or ("", 0))[:2]
    path, _, query = request.raw_path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "server": (host, port),
        "client": (request.remote or "", 0),
        "root_path": "",
        "path": request.path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": query.partition("#")[0].encode("utf-8", "surrogateescape"),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
    }


class _Exchange:
    """One request and its answer."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._read_all = False
        self._over = asyncio.Event()
        self.response: web.StreamResponse | None = None

    @property
    def is_over(self) -> bool:
        """The answer is whole."""
        return self._over.is_set()

    async def receive(self) -> Message:
        """The body as it comes; after it only that the exchange is over. Never more than READ_BYTES at once.

        Raises HTTPException where the body breaks off: whoever reads it would take a disconnect for a defect of its own.
        """
        if self._read_all:
            await self._over.wait()
            return {"type": "http.disconnect"}
        try:
            chunk = await self._request.content.read(READ_BYTES)
        except web.RequestPayloadError:
            self._read_all = True
            self._over.set()
            raise HTTPException(400, "the body ended early, or could not be read") from None
        except (ConnectionError, web.HTTPException):
            self._read_all = True
            self._over.set()
            return {"type": "http.disconnect"}
        self._read_all = not chunk or self._request.content.at_eof()
        return {"type": "http.request", "body": chunk, "more_body": not self._read_all}

    @property
    def _has_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def send(self, message: Message) -> None:
        """Raises Gone. An empty body with more to come only asks whether the browser is there."""
        try:
            if message["type"] == "http.response.start":
                await self._begin(message)
            elif message["type"] == "http.response.body" and self.response is not None:
                await self._go_on(self.response, message.get("body", b""), more=message.get("more_body", False))
        except ConnectionError as error:
            raise Gone from error

    async def _go_on(self, response: web.StreamResponse, body: bytes, *, more: bool) -> None:
        if more and not body and self._has_gone:
            raise Gone
        if body and self._request.method != "HEAD":
            await response.write(body)
        if not more:
            await response.write_eof()
            self._over.set()

    async def _begin(self, message: Message) -> None:
        response = web.StreamResponse(status=message["status"])
        for name, value in message.get("headers", ()):
            response.headers.add(name.decode("latin-1"), value.decode("latin-1"))  # add: there may be several cookies
        self.response = response
        await response.prepare(self._request)
