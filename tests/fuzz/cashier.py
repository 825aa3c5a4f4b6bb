"""Parsers of what the cashier answers: to a question about a trade, and, in raw HTTP, to the one submit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

from yarl import URL

from pipeline.clock import WallClock
from pipeline.errors import UpstreamError
from pipeline.ports import PaymentForm, SubmitKind
from pipeline.railway.http_cashier import HttpCashier
from pipeline.railway.sandbox import forms
from pipeline.railway.submit_line import SubmitLine
from tests.fuzz.parser import Parser, Take, storable
from tests.fuzz.upstreams import AT, CASHIER, HOLD, HTML_WORDS, TRADE, XML_WORDS, on_a_loop, session_of


@contextmanager
def trades() -> Iterator[Take]:
    """The answer to a question about a trade. One client for all: to make one is to read the system's certificates."""
    given = [b""]
    cashier = HttpCashier(CASHIER, timeout_s=30, clock=WallClock(), session_factory=lambda: session_of(*given))

    async def ask() -> None:
        try:
            found = await cashier.trade(TRADE)
        except UpstreamError as error:
            storable(error.detail)
        else:
            assert found.amount_fen >= 0

    with asyncio.Runner() as runner:

        def take(data: bytes) -> None:
            given[0] = data
            runner.run(ask())

        yield take


def trade_seeds() -> list[bytes]:
    xml = (
        "<?xml version='1.0' encoding='utf-8'?><alipay><is_success>T</is_success><response><trade><out_trade_no>{}</out_trade_no>"
        "<trade_status>{}</trade_status><total_fee>413.00</total_fee><refund_fee>0.00</refund_fee></trade></response></alipay>"
    )
    unknown = b"<alipay><is_success>F</is_success><error>TRADE_NOT_EXIST</error></alipay>"
    states = ("WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_CLOSED")
    return [xml.format(TRADE, state).encode() for state in states] + [
        unknown,
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    ]


class Gone:
    """The writing side of the line to the cashier: takes everything."""

    transport = SimpleNamespace(abort=lambda: None)

    def is_closing(self) -> bool:
        return False

    def write(self, _: bytes) -> None:
        """Sent."""

    def close(self) -> None:
        """Nothing is open."""

    async def wait_closed(self) -> None:
        """At once."""


PAYMENT = PaymentForm(HOLD, TRADE, 41_300, AT, (("ord_amt", "413.00"), ("service", "create_direct_pay_by_user")))


async def submitted(data: bytes) -> None:
    """The raw HTTP answer to the one submit: whatever it is, the submit has an outcome, and only listed texts are a refusal."""
    reader = asyncio.StreamReader()
    line = SubmitLine(
        reader, cast(asyncio.StreamWriter, Gone()), URL(CASHIER) / "gateway.do", timeout_s=30, clock=WallClock()
    )
    answering = asyncio.ensure_future(line.submit(PAYMENT, lambda: True))
    for _ in range(8):
        await asyncio.sleep(0)
    reader.feed_data(data)
    reader.feed_eof()
    answer = await answering
    await line.close()
    storable(answer.detail)
    assert answer.kind is not SubmitKind.NOT_SENT
    assert answer.kind is not SubmitKind.REFUSED or b"FAIL" in data


def submit_seeds() -> list[bytes]:
    def http(page: str, *headers: str) -> bytes:
        body = page.encode()
        lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Content-Type: text/html", *headers, "", ""]
        return "\r\n".join(lines).encode() + body

    pages = [forms.result_page("SUCCESS", "支付成功"), forms.result_page("FAIL", "交易失败：账户余额不足")]
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    body = pages[0].encode()
    return [http(page) for page in pages] + [
        chunked % (len(body), body),
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(pages[1], "Connection: close"),
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    ]


_HTTP_WORDS = (
    b"\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: ",
    b"HTTP/1.1 ",
    b"0\r\n\r\n",
    b"100 Continue",
)

PARSERS = (
    Parser(
        "cashier_trades",
        trades,
        trade_seeds,
        XML_WORDS,
        ("pipeline.railway.http_cashier", "pipeline.railway.safe_xml"),
        80,
    ),
    Parser(
        "cashier_submits",
        on_a_loop(submitted),
        submit_seeds,
        (*_HTTP_WORDS, *HTML_WORDS),
        ("pipeline.railway.submit_line", "pipeline.railway.pages"),
        60,
    ),
)
