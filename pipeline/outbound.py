"""POST to an address that an agent gave us, without letting the agent reach into our own network (SSRF).

Every address behind the name is checked against the deny table, and the connection goes to a checked address: the name
is not asked a second time, so it can't answer differently in between (anchors/payments.md, 3.4).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from pipeline.clock import WallClock
from pipeline.ports import CallbackAnswer, CallFailure
from pipeline.tls_words import tls_words

BODY_MAX: Final = 20_000  # bytes of an answer that are read
KEPT_MAX: Final = 2_000  # characters of it that are kept
PORT_MIN: Final = 1024  # below it other protocols listen than 80 and 443: mail, names, remote shells
FORM: Final = "application/x-www-form-urlencoded; charset=UTF-8"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

DENIED: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(network), why)
    for network, why in (
        # IPv4, RFC 6890 and the IANA special-purpose registry
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast"),
        # IPv6 that carries an IPv4 address: the router behind it would reach any of the above
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64, local"),
        ("2002::/16", "6to4"),
        ("2001::/32", "Teredo"),
        # IPv6
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("100::/64", "discard"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        # Only 2000::/3 is given out as global unicast (RFC 4291)
        ("::/3", "not global unicast"),
        ("4000::/2", "not global unicast"),
        ("8000::/1", "not global unicast"),
    )
)

_RETRY_AFTER_S: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class _Refused(Exception):
    """The address may not be called; the text says why, without the address's path."""

    def __init__(self, failure: CallFailure, words: str) -> None:
        super().__init__(words)
        self.failure = failure


class HttpAgentCaller:
    """The `AgentCaller` port over HTTP/1.1.

    allow_http   plain http is good enough (development)
    allow_nets   networks that may be called though the deny table names them (development)
    timeout_s    seconds, the overall end of a call
    """

    def __init__(self, allow_http: bool, allow_nets: Sequence[Network], timeout_s: float = 15) -> None:  # noqa: FBT001 - the port's settings, in their order
        self._allow_http = allow_http
        self._allow_nets = tuple(allow_nets)
        self._timeout_s = timeout_s

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        """Send once, to a checked address; no redirect, no proxy, no cookie. Never raises for what the network does.

        The words of a failure never hold the URL: it is the agent's secret.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                target = self._target(url)
                resolver = _Pinned(await self._addresses(target))
                return await _send(target, resolver, body, headers)
        except _Refused as refused:
            return _failed(refused.failure, str(refused))
        except TimeoutError:
            return _failed(CallFailure.TIMEOUT, f"no answer within {self._timeout_s:g} s")
        except (OSError, aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError) as error:
            return _failed(CallFailure.BROKE_OFF, f"no answer ({type(error).__name__})")

    async def trouble(self, url: str) -> str | None:
        """Why a call could not be made, or None: the address may be called and somebody takes the connection. Sends nothing."""
        try:
            async with asyncio.timeout(self._timeout_s):
                target = self._target(url)
                address = (await self._addresses(target))[0]
                secure = ssl.create_default_context() if target.scheme == "https" else None
                name = target.host if secure is not None else None
                _reader, writer = await asyncio.open_connection(
                    str(address), target.port, ssl=secure, server_hostname=name
                )
                writer.close()
                with contextlib.suppress(OSError):  # how they take the good-bye is no trouble
                    await writer.wait_closed()
        except _Refused as refused:
            return str(refused)
        except TimeoutError:
            return f"no connection within {self._timeout_s:g} s"
        except ssl.SSLError as error:
            return str(tls_words(error))
        except OSError as error:
            return f"no connection ({type(error).__name__})"
        return None

    def _target(self, text: str) -> URL:
        try:
            url = URL(text)
        except ValueError:
            raise _Refused(CallFailure.NO_URL, "the callback address is no URL") from None
        if url.scheme != "https" and not (url.scheme == "http" and self._allow_http):
            raise _Refused(CallFailure.NOT_HTTPS, "the callback address is not https")
        if url.user is not None or url.password is not None:
            raise _Refused(CallFailure.USER_NAME, "the callback address holds a user name")
        if not url.host or not url.port:
            raise _Refused(CallFailure.NO_HOST, "the callback address has no host")
        if url.port < PORT_MIN and not url.is_default_port():
            raise _Refused(CallFailure.PORT, f"the callback address has a port below {PORT_MIN} that is none of HTTP's")
        return url

    async def _addresses(self, url: URL) -> list[Address]:
        """Every address behind the host. Raises _Refused when one of them is denied: not one, all must be good."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _Refused(CallFailure.NO_ADDRESS, "the callback host has no address") from None
        addresses = [ip_address(sockaddr[0]) for *_, sockaddr in found]
        for address in addresses:
            why = why_denied(address, self._allow_nets)
            if why is not None:
                raise _Refused(CallFailure.DENIED, f"the callback host leads to a denied address: {why}")
        return addresses


def why_denied(address: Address, allow_nets: Sequence[Network]) -> str | None:
    """The deny table's reason, or None for an address that may be called."""
    if any(address in network for network in allow_nets):
        return None
    return next((why for network, why in DENIED if address in network), None)


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever the name would say now."""

    def __init__(self, addresses: list[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _send(url: URL, resolver: _Pinned, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
    sent = CIMultiDict({"Content-Type": FORM, "User-Agent": "daifu", "Accept-Encoding": "identity"})
    sent.update(headers)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # `post` holds the clock
            trust_env=False,
        ) as session,
        session.post(url, data=body, headers=sent, allow_redirects=False) as response,
    ):
        return answer_of(response.status, response.headers, await _read(response.content))


def answer_of(status: int, headers: Mapping[str, str], body: bytes) -> CallbackAnswer:
    """What this HTTP answer says, whatever its bytes are."""
    return CallbackAnswer(
        delivered=200 <= status < 300 and _says_true(body),
        status=status,
        answer=_storable(body),
        retry_after_s=_retry_after_s(headers.get("Retry-After"), headers.get("Date")),
        gone=status == 410,
    )


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """At most `BODY_MAX` bytes; the rest is not read."""
    chunks = bytearray()
    while len(chunks) < BODY_MAX:
        chunk = await stream.read(BODY_MAX - len(chunks))
        if not chunk:
            break
        chunks += chunk
    return bytes(chunks)


def _says_true(answer: bytes) -> bool:
    """`ret` is true, or the text "true" in any case (hthy compares the text, wire-protocols A.3)."""
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        return False
    ret = said.get("ret") if isinstance(said, dict) else None
    return ret is True or (isinstance(ret, str) and ret.strip().lower() == "true")


def _retry_after_s(value: str | None, date: str | None) -> float | None:
    """Seconds from now, never negative: the seconds form, or an HTTP date seen from the answer's own Date."""
    text = (value or "").strip()
    if _RETRY_AFTER_S.fullmatch(text):
        return float(text)
    then = _http_date(text)
    if then is None:
        return None
    now = _http_date(date or "") or WallClock().now()
    return max(0.0, (then - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _storable(answer: bytes) -> str:
    """Text without NUL, which a PostgreSQL column refuses."""
    return answer.decode("utf-8", "replace").replace("\x00", "\ufffd")[:KEPT_MAX]


def _failed(failure: CallFailure, words: str) -> CallbackAnswer:
    return CallbackAnswer(delivered=False, status=None, answer=words, failure=failure)
