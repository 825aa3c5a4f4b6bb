"""One complete table: what aiohttp and the operating system raise -> what it means to us.

    Unreachable   the connection was not made, broke, or took too long
    Garbled       bytes came that are not the HTTP that was asked for

The class decides, the words of the foreign error are dropped: an aiohttp error can carry the request's headers, and
with them a session cookie. `tests/unit/test_http_errors.py` fails when aiohttp gains a class that this table lacks.
"""

from __future__ import annotations

from typing import Final

import aiohttp
from aiohttp import client_exceptions, http_exceptions

from pipeline.errors import Garbled, Unreachable, Upstream, UpstreamError

type_of_failure = type[Unreachable] | type[Garbled]

TRANSLATION: Final[dict[type[Exception], type_of_failure]] = {
    # The operating system and the loop.
    TimeoutError: Unreachable,
    OSError: Unreachable,
    # aiohttp, in the order of its own tree.
    aiohttp.ClientError: Garbled,
    aiohttp.ClientResponseError: Garbled,
    aiohttp.ContentTypeError: Garbled,
    aiohttp.WSServerHandshakeError: Garbled,
    aiohttp.ClientHttpProxyError: Unreachable,
    aiohttp.TooManyRedirects: Garbled,
    aiohttp.ClientConnectionError: Unreachable,
    aiohttp.ClientConnectionResetError: Unreachable,
    aiohttp.ClientOSError: Unreachable,
    aiohttp.ClientConnectorError: Unreachable,
    aiohttp.ClientConnectorDNSError: Unreachable,
    aiohttp.ClientProxyConnectionError: Unreachable,
    client_exceptions.UnixClientConnectorError: Unreachable,
    aiohttp.ClientSSLError: Unreachable,
    aiohttp.ClientConnectorSSLError: Unreachable,
    aiohttp.ClientConnectorCertificateError: Unreachable,
    aiohttp.ServerConnectionError: Unreachable,
    aiohttp.ServerDisconnectedError: Unreachable,
    aiohttp.ServerTimeoutError: Unreachable,
    aiohttp.ConnectionTimeoutError: Unreachable,
    aiohttp.SocketTimeoutError: Unreachable,
    aiohttp.ServerFingerprintMismatch: Unreachable,
    aiohttp.ClientPayloadError: Unreachable,  # the body broke off; a body that won't unpack is told the same way
    aiohttp.UploadAbortedError: Unreachable,
    aiohttp.InvalidURL: Garbled,
    aiohttp.InvalidUrlClientError: Garbled,
    aiohttp.InvalidUrlRedirectClientError: Garbled,
    aiohttp.RedirectClientError: Garbled,
    aiohttp.NonHttpUrlClientError: Garbled,
    aiohttp.NonHttpUrlRedirectClientError: Garbled,
    http_exceptions.HttpProcessingError: Garbled,
}

FOREIGN: Final = (OSError, aiohttp.ClientError, http_exceptions.HttpProcessingError)
"""What an exchange over HTTP can raise; TimeoutError is an OSError."""

_WORDS: Final[dict[type_of_failure, str]] = {
    Unreachable: "no answer over HTTP",
    Garbled: "not the HTTP that was asked for",
}

DETAIL_MAX = 200  # characters of upstream text that an error may hold


def translate(upstream: Upstream, error: Exception) -> UpstreamError:
    """Our error for a foreign one; the nearest listed class decides. Raise it outside the `except`, without context."""
    for cls in type(error).__mro__:
        kind = TRANSLATION.get(cls)
        if kind is not None:
            return kind(upstream, f"{_WORDS[kind]} ({type(error).__name__})")
    raise error


def clip(text: str) -> str:
    """Upstream text as a `detail` may hold it: one line, 200 characters, nothing a database column refuses."""
    storable = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in storable).split())[:DETAIL_MAX]
