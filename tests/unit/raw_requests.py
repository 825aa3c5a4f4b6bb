"""Requests as nobody should send them, to the byte: ways to hide a second request in the body of a first, and bytes that are no HTTP."""

from __future__ import annotations

import asyncio
import re
from typing import Final

HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: daifu\r\n\r\n"  # what must never be taken for a request
_STATUS: Final = re.compile(rb"HTTP/[01]\.[019] (\d\d\d) ")


def post(*headers: bytes, body: bytes = HIDDEN, line: bytes = b"POST /any HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: daifu", *headers, b"", b"")) + body


_CHUNKED: Final = b"Transfer-Encoding: chunked"
_NONE: Final = b"0\r\n\r\n"  # a chunked body that ends at once


def length(text: bytes | int) -> bytes:
    return b"Content-Length: " + (str(text).encode() if isinstance(text, int) else text)


def _chunks(body: bytes, *headers: bytes) -> bytes:
    return post(*(headers or (_CHUNKED,)), body=body)


# Whoever takes one of these for good HTTP disagrees with somebody else on where it ends.
SMUGGLED: Final[dict[str, bytes]] = {
    "both lengths, CL.TE": post(length(len(_NONE + HIDDEN)), _CHUNKED, body=_NONE + HIDDEN),
    "both lengths, TE.CL": post(_CHUNKED, length(4), body=_NONE + HIDDEN),
    "two lengths": post(length(0), length(len(HIDDEN))),
    "two equal lengths": post(length(len(HIDDEN)), length(len(HIDDEN))),
    "two lengths in one": post(length(b"0, %d" % len(HIDDEN))),
    "two equal lengths in one": post(length(b"%d, %d" % (len(HIDDEN), len(HIDDEN)))),
    "length with a plus": post(length(b"+0")),
    "length below nothing": post(length(b"-1")),
    "length of nothing": post(length(b"")),
    "length in hex": post(length(b"0x0")),
    "length with an underscore": post(length(b"3_7")),
    "length in other digits": post(length("٠".encode())),
    "length with a fraction": post(length(b"0.0")),
    "length that aiohttp's parser takes for none": post(length(b"18446744073709551615")),
    "length beyond 64 bits": post(length(b"18446744073709551616")),
    "length beyond all": post(length(b"9" * 5_000)),
    "length before a NUL": post(length(b"0\x00")),
    "length in two words": post(length(b"0 1")),
    "blank before the colon": post(b"Content-Length : %d" % len(HIDDEN)),
    "tab before the colon": post(b"Content-Length\t: %d" % len(HIDDEN)),
    "blank before a chunked's colon": _chunks(_NONE + HIDDEN, b"Transfer-Encoding : chunked"),
    "blank before a name": post(b" Content-Length: 0", b"X: y"),
    "folded header": post(b"X: y", b" folded", length(0)),
    "folded encoding": _chunks(_NONE + HIDDEN, b"Transfer-Encoding:", b" chunked"),
    "folded first header": b"POST /any HTTP/1.1\r\n Host: daifu\r\n\r\n" + HIDDEN,
    "bare LF between headers": b"POST /any HTTP/1.1\nHost: daifu\nContent-Length: 0\n\n" + HIDDEN,
    "bare LF before a length": b"POST /any HTTP/1.1\r\nHost: daifu\r\nX: y\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "bare CR before a length": b"POST /any HTTP/1.1\r\nHost: daifu\r\nX: y\rContent-Length: 0\r\n\r\n" + HIDDEN,
    "NUL in a header": post(b"X: a\x00b", length(0)),
    "NUL in a name": post(b"X\x00: a", length(0)),
    "no name": post(b": y", length(0)),
    "no colon": post(b"Content-Length", length(0)),
    "name that is no token": post(b"X(y): z", length(0)),
    "name in other letters": post("Ｘ: z".encode(), length(0)),
    "unknown coding": _chunks(_NONE + HIDDEN, b"Transfer-Encoding: cow"),
    "chunked twice": _chunks(_NONE + HIDDEN, b"Transfer-Encoding: chunked, chunked"),
    "chunked, then identity": _chunks(_NONE + HIDDEN, b"Transfer-Encoding: chunked, identity"),
    "chunked, then another header": _chunks(_NONE + HIDDEN, _CHUNKED, b"Transfer-Encoding: identity"),
    "identity and a length": post(b"Transfer-Encoding: identity", length(0)),
    "chunked after a tab": _chunks(_NONE + HIDDEN, b"Transfer-Encoding:\x0bchunked"),
    "chunked in quotes": _chunks(_NONE + HIDDEN, b'Transfer-Encoding: "chunked"'),
    "chunked with a parameter": _chunks(_NONE + HIDDEN, b"Transfer-Encoding: chunked;q=1"),
    "chunked before a NUL": _chunks(_NONE + HIDDEN, b"Transfer-Encoding: chunked\x00"),
    "chunked in HTTP/1.0": post(_CHUNKED, line=b"POST /any HTTP/1.0", body=_NONE + HIDDEN),
    "chunk below nothing": _chunks(b"-1\r\n" + HIDDEN),
    "chunk with a prefix": _chunks(b"0x5\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "chunk with a plus": _chunks(b"+0\r\n\r\n" + HIDDEN),
    "chunk beyond 64 bits": _chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "chunk of nothing": _chunks(b"\r\n\r\n" + HIDDEN),
    "chunk with an underscore": _chunks(b"0_0\r\n\r\n" + HIDDEN),
    "chunk longer than said": _chunks(b"1\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "chunk that ends in LF": _chunks(b"5\nhello\r\n0\r\n\r\n" + HIDDEN),
    "chunk data that ends in LF": _chunks(b"5\r\nhello\n0\r\n\r\n" + HIDDEN),
    "chunks that end in LF": _chunks(b"0\n\n" + HIDDEN),
    "chunk extension with a bare LF": _chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "chunk extension with a bare CR": _chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "chunk after a blank": _chunks(b" 5\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "trailer with a length": _chunks(b"0\r\nContent-Length : 5\r\n\r\n" + HIDDEN),
}  # fmt: skip

# What is no request of HTTP/1.x at all.
GARBAGE: Final[dict[str, bytes]] = {
    "a TLS hello": b"\x16\x03\x01\x02\x00" * 50 + b"\r\n\r\n",
    "HTTP/0.9": b"GET /any\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": b"GET /any HTTP/3.0\r\nHost: daifu\r\n\r\n",
    "HTTP/1.12": b"GET /any HTTP/1.12\r\nHost: daifu\r\n\r\n",
    "HTTP in small letters": b"GET /any http/1.1\r\nHost: daifu\r\n\r\n",
    "HTTPS/1.1": b"GET /any HTTPS/1.1\r\nHost: daifu\r\n\r\n",
    "no method": b" /any HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "method with a colon": b"GE:T /any HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "method with a NUL": b"GE\x00T /any HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "tabs": b"GET\t/any\tHTTP/1.1\r\nHost: daifu\r\n\r\n",
    "four words": b"GET /any /other HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "a control in the path": b"GET /a\x01ny HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "a NUL in the path": b"GET /a\x00ny HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "CR alone": b"GET /any HTTP/1.1\rHost: daifu\r\r\n\r\n",
    "an SSH client": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "an SMTP client": b"EHLO daifu.example\r\n\r\n",
    "a Redis client": b"*1\r\n$4\r\nPING\r\n\r\n",
    "NUL bytes": b"\x00" * 5_000 + b"\r\n\r\n",
    "a line without end": b"GET /" + b"a" * 70_000,
    "a header without end": b"GET /any HTTP/1.1\r\nHost: daifu\r\nX: " + b"a" * 70_000,
    "headers without end": b"GET /any HTTP/1.1\r\nHost: daifu\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5_000)),
    "an address of a relay without host": b"GET http:// HTTP/1.1\r\nHost: daifu\r\n\r\n",
    "a relay's tunnel": b"CONNECT :443 HTTP/1.1\r\nHost: daifu\r\n\r\n",
}  # fmt: skip

# What HTTP allows, however odd: one request, and HIDDEN is its body, or nothing of it is read.
SERVED: Final[dict[str, bytes]] = {
    "a length": post(length(len(HIDDEN)), b"Connection: close"),
    "chunks": _chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), _CHUNKED, b"Connection: close"),
    "chunks in capitals": _chunks(_NONE, b"TRANSFER-ENCODING: CHUNKED", b"Connection: close"),
    "chunks with extensions": _chunks(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n', _CHUNKED, b"Connection: close"),
    "a trailer": _chunks(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", _CHUNKED, b"Connection: close"),
    "the whole address": post(length(0), b"Connection: close", line=b"POST http://elsewhere.example/any HTTP/1.1", body=b""),
    "an empty line before": b"\r\n" + post(length(0), b"Connection: close", body=b""),
    "two blanks": post(length(0), b"Connection: close", line=b"POST  /any HTTP/1.1", body=b""),
    "HTTP/1.0": post(length(len(HIDDEN)), line=b"POST /any HTTP/1.0"),
    "an expectation": post(length(len(HIDDEN)), b"Expect: 100-continue", b"Connection: close"),
    "an upgrade": post(length(len(HIDDEN)), b"Connection: Upgrade, close", b"Upgrade: h2c"),
    "two hosts": post(b"Host: elsewhere.example", length(0), b"Connection: close", body=b""),
    "a body that nobody asked for": post(length(len(HIDDEN)), b"Connection: close", line=b"DELETE /any HTTP/1.1"),
}  # fmt: skip


async def told(port: int, sent: bytes, *, within_s: float = 30.0) -> bytes:
    """Everything that comes back until the other side closes, as it does with who sends nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()
    try:
        async with asyncio.timeout(within_s):
            writer.write(sent)
            while chunk := await reader.read(65_536):
                answer += chunk
    except ConnectionError:
        pass  # closed with some of what was sent unread
    finally:
        writer.transport.abort()
    return bytes(answer)


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in _STATUS.findall(answer)]
