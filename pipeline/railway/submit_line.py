"""The one request of a purchase that may move money: HTTP/1.1 by hand, so that what left is known to the byte.

    nothing was handed to the transport        NOT_SENT   a proof
    the cashier refused by an exact, listed text   REFUSED    a proof
    the cashier answered 支付成功               SENT       says nothing about money
    everything else                            UNKNOWN    only questions help now

No redirect is followed, nothing is ever written twice (DESIGN section 5, point 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

import h11
from yarl import URL

from pipeline.ports import Clock, PaymentForm, SubmitAnswer, SubmitKind
from pipeline.railway.http_errors import clip
from pipeline.railway.http_session import BODY_MAX, USER_AGENT
from pipeline.railway.pages import read_verdict
from pipeline.railway.wire_texts import SUBMIT_REFUSED

_CHUNK: Final = 65536  # bytes
_CLOSING_S: Final = 1.0  # seconds a graceful close may take
_LOOP_TURNS: Final = 3  # the selector sees the end, the stream is told, the reading task wakes


class SubmitLine:
    """An open connection, good for one submit. A read waits on it from the start: the cashier has nothing to say
    before it was asked, so anything that arrives earlier, the end included, means that this line must not be used."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gateway: URL,
        *,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._gateway = gateway
        self._timeout_s = timeout_s
        self._clock = clock
        self._used = False
        self._first_read = asyncio.ensure_future(reader.read(_CHUNK))

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        """Send the form once; `still_ours` is asked with nothing but the write after it.

        A cancelled submit may have sent the form: the line is spent either way. A second call is a RuntimeError.
        """
        if self._used:
            raise RuntimeError("a submit line is good for one submit")
        self._used = True
        protocol = h11.Connection(h11.CLIENT)
        request = _request(protocol, self._gateway, form)
        for _ in range(_LOOP_TURNS):
            await asyncio.sleep(0)
        if self._first_read.done() or self._writer.is_closing():
            return SubmitAnswer(SubmitKind.NOT_SENT, "the cashier had closed the connection")
        if not still_ours():
            return SubmitAnswer(SubmitKind.NOT_SENT, "the intent is not ours any more")
        self._writer.write(request)
        return await self._outcome(protocol)

    async def close(self) -> None:
        """Close the connection; never raises. On a line that was not used this proves that nothing was sent."""
        self._first_read.cancel()
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._writer.wait_closed()
        self._writer.transport.abort()
        await asyncio.wait({self._first_read})
        if not self._first_read.cancelled():
            self._first_read.exception()  # looked at: the loop need not report it

    async def _outcome(self, protocol: h11.Connection) -> SubmitAnswer:
        """From the write on: every failure is UNKNOWN."""
        written_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._answer(protocol)
        except TimeoutError:
            words = "no answer"
        except (OSError, h11.RemoteProtocolError) as error:
            words = f"the answer broke off ({type(error).__name__})"
        else:
            return _judge(answer)
        waited_s = self._clock.monotonic() - written_at
        return SubmitAnswer(SubmitKind.UNKNOWN, f"{words}, {waited_s:.1f} s after sending")

    async def _answer(self, protocol: h11.Connection) -> _Answer:
        """The whole answer. Raises OSError, h11.RemoteProtocolError."""
        answer = _Answer()
        chunk = await self._first_read
        protocol.receive_data(chunk)
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
            elif isinstance(event, h11.Data):
                answer.body += event.data
                if len(answer.body) > BODY_MAX:
                    raise h11.RemoteProtocolError("the answer is too large")
            elif isinstance(event, h11.EndOfMessage):
                return answer
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("closed without an answer")


@dataclass(slots=True)
class _Answer:
    status: int = 0
    body: bytearray = field(default_factory=bytearray)


def _request(protocol: h11.Connection, gateway: URL, form: PaymentForm) -> bytes:
    """The request to the byte: the form's fields in order, percent-encoded in UTF-8."""
    body = urlencode(form.fields, encoding="utf-8").encode("ascii")
    head = h11.Request(
        method="POST",
        target=gateway.raw_path,
        headers=[
            ("Host", gateway.host_port_subcomponent or ""),
            ("User-Agent", USER_AGENT),
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ],
    )
    parts = (protocol.send(head), protocol.send(h11.Data(data=body)), protocol.send(h11.EndOfMessage()))
    return b"".join(part or b"" for part in parts)


def _judge(answer: _Answer) -> SubmitAnswer:
    """Only status 200 with exactly one result can be anything but UNKNOWN."""
    if answer.status != 200:
        return SubmitAnswer(SubmitKind.UNKNOWN, f"HTTP {answer.status}")
    try:
        verdict = read_verdict(answer.body.decode("utf-8"))
    except UnicodeDecodeError:
        verdict = None
    if verdict is None:
        return SubmitAnswer(SubmitKind.UNKNOWN, f"a page of {len(answer.body)} bytes without a result")
    if verdict.code == "SUCCESS":
        return SubmitAnswer(SubmitKind.SENT, clip(verdict.text))
    if verdict.code == "FAIL" and verdict.text in SUBMIT_REFUSED:
        return SubmitAnswer(SubmitKind.REFUSED, clip(verdict.text))
    return SubmitAnswer(SubmitKind.UNKNOWN, clip(f"{verdict.code}: {verdict.text}"))
