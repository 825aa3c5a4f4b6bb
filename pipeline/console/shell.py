"""Around the application: what every answer says to browsers, what no request may hold. Plain ASGI, so that streams stay streams."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.console.caller import Networks, caller_of

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "object-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
ALWAYS: Mapping[str, str] = {
    "Server": "daifu",  # else the server's library says which version it is
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
HSTS = "max-age=31536000; includeSubDomains"
STATIC_CACHE = "public, max-age=31536000, immutable"  # its address changes with its content


class Shell:
    """Adds the headers to every answer, that of a defect too; refuses an address with a NUL, which no database text holds."""

    def __init__(self, app: ASGIApp, proxies: Networks) -> None:
        self.app, self._proxies = app, tuple(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        https = caller_of(Request(scope), self._proxies).https

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(scope, message, https=https)
            await send(message)

        app = _no_nul if "\0" in scope["path"] or b"%00" in scope["query_string"] else self.app
        await app(scope, receive, send_with_headers)


def _add_headers(scope: Scope, message: Message, *, https: bool) -> None:
    headers = MutableHeaders(scope=message)
    headers.update(ALWAYS)
    if https:
        headers["Strict-Transport-Security"] = HSTS
    if "cache-control" not in headers:
        kept = scope["path"].startswith("/static/") and message["status"] == 200
        headers["Cache-Control"] = STATIC_CACHE if kept else "no-store"


async def _no_nul(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("a NUL character is in the address", status_code=400)(scope, receive, send)
