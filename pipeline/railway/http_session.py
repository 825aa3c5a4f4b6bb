"""HTTP with one upstream: an aiohttp session, a cap on every body, one place where foreign errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from pipeline.errors import Busy, Garbled, SessionLost, Unreachable, Upstream, UpstreamError
from pipeline.railway.http_errors import FOREIGN, translate
from pipeline.railway.wire_texts import MAINTENANCE

BODY_MAX: Final = 2 * 1024 * 1024  # bytes; the largest real page has some 200 KB
LOGIN_PAGE: Final = "/otn/login/init"  # where 12306 redirects a page call without a session
USER_AGENT: Final = "Mozilla/5.0 (compatible; daifu)"

Pairs = Sequence[tuple[str, str]]
SessionFactory = Callable[[], aiohttp.ClientSession]

_T = TypeVar("_T")


def new_session() -> aiohttp.ClientSession:
    """A session with a cookie jar of its own: one per login, so that no account sees another's cookies.

    `unsafe` lets the jar keep cookies of an upstream that is addressed by its IP number (the sandbox).
    No limit on connections (upstream limits live in the database), no proxy from the environment.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.CookieJar(unsafe=True, quote_cookie=False),
        headers={"User-Agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `ending` holds the clock
        trust_env=False,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer's body and the headers we read."""

    body: bytes
    date: str | None  # the Date header


async def ending(upstream: Upstream, timeout_s: float, call: Awaitable[_T]) -> _T:
    """The result of `call`, which has `timeout_s` seconds in all. Raises Unreachable when they are over."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except TimeoutError as error:
        failure = translate(upstream, error)
    raise failure


class Exchange:
    """Requests to one upstream with one cookie jar. Never redirects, never repeats a POST, never logs."""

    def __init__(self, upstream: Upstream, session: aiohttp.ClientSession) -> None:
        self._upstream: Upstream = upstream
        self._session = session

    async def get(self, url: URL, *, referer: URL | None = None) -> Answer:
        """A page. Raises Unreachable, Busy, Garbled, SessionLost."""
        return await self._request("GET", url, None, _headers(referer, script=False))

    async def post(self, url: URL, fields: Pairs, *, referer: URL | None = None, script: bool = False) -> Answer:
        """A form; `script` marks a call that 12306's own pages make by XMLHttpRequest. Raises like `get`."""
        return await self._request("POST", url, fields, _headers(referer, script=script))

    async def close(self) -> None:
        await self._session.close()

    async def _request(self, method: str, url: URL, fields: Pairs | None, headers: Mapping[str, str]) -> Answer:
        failure: UpstreamError
        try:
            data = None if fields is None else aiohttp.FormData(fields, charset="utf-8")
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                return await self._read(response)
        except FOREIGN as error:
            failure = translate(self._upstream, error)
        # Raised out here, the error carries no aiohttp error with it: those hold the request's headers, cookies too.
        raise failure

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        if response.status >= 500:
            raise Unreachable(self._upstream, f"HTTP {response.status}")
        if response.status == 429:
            raise Busy(self._upstream, "HTTP 429")
        if 300 <= response.status < 400:
            if LOGIN_PAGE in response.headers.get("Location", ""):
                raise SessionLost(self._upstream, f"HTTP {response.status} to the login page")
            raise Garbled(self._upstream, f"HTTP {response.status}, an unexpected redirect")
        body = await read_capped(response.content, BODY_MAX)
        if len(body) > BODY_MAX:
            raise Garbled(self._upstream, f"an answer of more than {BODY_MAX} bytes")
        if MAINTENANCE.encode() in body and not body.lstrip().startswith(b"{"):
            raise Unreachable(self._upstream, f"a page that says {MAINTENANCE}")
        return Answer(body, response.headers.get("Date"))


async def read_capped(stream: aiohttp.StreamReader, cap: int) -> bytes:
    """The whole body, or its first `cap + 1` bytes when it is longer."""
    chunks = bytearray()
    while len(chunks) <= cap:
        chunk = await stream.read(cap + 1 - len(chunks))
        if not chunk:
            break
        chunks += chunk
    return bytes(chunks)


def _headers(referer: URL | None, *, script: bool) -> dict[str, str]:
    headers = {} if referer is None else {"Referer": str(referer)}
    if script:
        headers["X-Requested-With"] = "XMLHttpRequest"
    return headers
