"""An aiohttp application on one address, started and closed by its owner; what no request and no caller may take from it.

aiohttp itself bounds a request's line and each of its headers (8,190 bytes, 128 headers), refuses the forms by which requests are smuggled,
and closes a connection whose head does not come (`IDLE_S`). Here: a body that does not come, an answer that nobody takes,
connections by the thousand, and what is said, and logged, about bytes that are no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import structlog
from aiohttp import ClientConnectionResetError, HttpVersion10, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

log = structlog.get_logger()

IDLE_S = 15.0  # a connection that has not sent a whole request head by then is closed: slow senders too
BODY_S = 60.0  # a whole body must be here by then: 20 MB over a slow line; a door may want it sooner
STALLED_S = 30.0  # a connection is dropped that takes nothing of its answer for so long
LINGER_S = 1.0  # what is refused unread gets this long to hear why
MOST_BYTES = 1 << 40  # of a body. aiohttp's parser takes 2^64-1 for no length: what follows would be another request
MOST_CONNECTIONS = 1_000  # at once from one address
SERVER = "daifu"  # else aiohttp tells everybody its version and Python's
NO_HTTP = "this is not HTTP as it is spoken here\n"
BROKEN_BODY = "the body ended early, came too slowly, or could not be read\n"


class _Forward(logging.Handler):
    """aiohttp's own lines, as lines of ours; none about a body that breaks off or can't be unpacked: whoever sends it would write
    them."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, web.RequestPayloadError):
            log.error("http_connection_failed", words=record.msg, exc_info=error)


_LOGGER = logging.getLogger("daifu.http")
_LOGGER.propagate = False
_LOGGER.addHandler(_Forward())


class HttpServer:
    """Listens until closed."""

    def __init__(self, app: web.Application) -> None:
        app.on_response_prepare.append(_name_server)
        app.middlewares.insert(0, whole_body)
        self._runner = web.AppRunner(app, handle_signals=False)
        self.callers: Counter[str] = Counter()  # connections by address
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self, host: str, port: int) -> str:
        """Listen; returns `host:port` as bound. Raises OSError."""
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self.connection, host, port)
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{bound_host}:{bound_port}"
        return self.address

    def connection(self) -> web.RequestHandler:
        """The protocol of one more connection."""
        manager = self._runner.server
        assert manager is not None  # noqa: S101 - the runner is set up before anybody connects
        return _Connection(manager, self.callers)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER


class _Connection(web.RequestHandler):
    """One of at most `MOST_CONNECTIONS` of its address; it reads its answers, and hears nothing of its own bytes again."""

    __slots__ = ("_caller", "_callers", "_stalled")

    def __init__(self, manager: web.Server, callers: Counter[str]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # aiohttp's own word for none
            logger=_LOGGER,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
        )
        self._callers, self._caller = callers, ""
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._caller = str((transport.get_extra_info("peername") or [""])[0])
        self._callers[self._caller] += 1
        if self._callers[self._caller] > MOST_CONNECTIONS:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._stalled is not None:
            self._stalled.cancel()
        self._callers[self._caller] -= 1
        if not self._callers[self._caller]:
            del self._callers[self._caller]

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._stalled = asyncio.get_running_loop().call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """aiohttp would send and log the bytes that it could not read: with a wrong length they are a body, and hold a password.
        Who sends no HTTP is answered and gets no line in the log, or he could fill it; nor does he who goes half way
        through his answer."""
        if isinstance(exc, UnicodeEncodeError) and "Expect" in request.headers:
            status = 417  # aiohttp's answer repeats an unknown expectation, and can't where its bytes are no UTF-8
        elif not isinstance(exc, HttpProcessingError | ClientConnectionResetError):
            log.error("http_request_failed", path=request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half of another answer is sent")
        words = NO_HTTP if status == 400 else f"{status}\n"
        return _last_answer(status, words)


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A body is here within `BODY_S`; one that breaks off, or can't be unpacked, is the sender's fault, wherever it is noticed."""
    # 0.9 has neither headers nor a status: aiohttp would read it, and answer what it can't read.
    if request.version < HttpVersion10 or (request.content_length or 0) > MOST_BYTES:
        return _last_answer(400, NO_HTTP)
    if request.content.is_eof():
        return await handler(request)
    timer = asyncio.get_running_loop().call_later(BODY_S, _give_up, request.content)
    try:
        return await handler(request)
    except Exception:
        if request.content.exception() is None or request.writer.output_size > 0:
            raise
        return _last_answer(400, BROKEN_BODY)
    finally:
        timer.cancel()


def _give_up(body: Any) -> None:
    if not body.is_eof():
        body.set_exception(web.RequestPayloadError("the body came too slowly"))


def _last_answer(status: int, words: str) -> web.Response:
    response = web.Response(status=status, text=words, headers={"Server": SERVER})
    response.force_close()
    return response
