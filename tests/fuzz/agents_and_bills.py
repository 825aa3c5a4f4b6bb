"""Parsers of what comes by ways of its own: a bill of Alipay's that a person uploads, agents' addresses, and what agents answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, timedelta
from typing import Any

from pipeline.alipay_bill import BadBill, read_bill
from pipeline.outbound import HttpAgentCaller, answer_of
from tests.fuzz.parser import CUT, Parser, Take, parts, storable
from tests.fuzz.upstreams import AT, TRADE, on_a_loop
from tests.unit.bill_world import Moved, account_bill, trades_bill

# -- Alipay's bills -----------------------------------------------------------------------------------------------


@contextmanager
def bill() -> Iterator[Take]:
    """A file that a person uploads."""

    def take(data: bytes) -> None:
        with suppress(BadBill):
            found = read_bill(data)
            for moment in (found.begins_at, found.ends_at, *(line.at for line in found.lines)):
                moment.astimezone(UTC)  # what the store does
            storable(found.account)
            for line in found.lines:
                assert 0 <= line.amount_fen < 2**53
                for text in (line.serial, line.alipay_no, line.trade_no, line.words):
                    storable(text)

    yield take


def bill_seeds() -> list[bytes]:
    lines = [Moved(TRADE, 41_300, AT, "1"), Moved("T2", -7, AT, "2"), Moved("T3", 100, AT, "3", goods='车"票')]
    texts = [layout(lines, AT, AT + timedelta(days=1)) for layout in (account_bill, trades_bill)]
    return [text.encode(encoding) for text in texts for encoding in ("utf-8", "gb18030")] + [b"PK\x03\x04"]


# -- agents' answers and addresses --------------------------------------------------------------------------------


async def callback_answer(data: bytes) -> None:
    """An agent's answer: Retry-After, Date, and the body."""
    retry, date, body = parts(data, 3)
    headers = {"Retry-After": retry.decode("utf-8", "surrogateescape"), "Date": date.decode("utf-8", "surrogateescape")}
    answer = answer_of(200, headers, body)
    storable(answer.answer)
    assert answer.retry_after_s is None or answer.retry_after_s >= 0
    min(answer.retry_after_s or 0.0, 60.0)
    if answer.delivered:
        assert b"ret" in body or b"\\u" in body


def answer_seeds() -> list[bytes]:
    bodies = [
        b'{"ret":true}',
        b'{"ret":"TRUE"}',
        b'{"ret":false,"msg":"\xe6\xb2\xa1\xe6\x9c\x89"}',
        b"success|demo1",
        b"[" * 900,
    ]
    heads = [(b"", b""), (b"120", b""), (b"Sun, 06 Nov 2034 08:50:37 GMT", b"Sun, 06 Nov 2034 08:49:37 GMT")]
    return [CUT.join((*head, body)) for head in heads for body in bodies]


async def callback_address(data: bytes) -> None:
    """An address that an agent, or a person for it, gave: no answer, for nobody is called; a reason in words without the path."""
    asyncio.get_running_loop().getaddrinfo = nobody  # type: ignore[assignment, method-assign] # of this loop only
    url = data.decode("utf-8", "surrogateescape")
    for caller in (HttpAgentCaller(True, (), 30), HttpAgentCaller(False, (), 30)):
        answer = await caller.post(url, b"", {})
        assert answer.failure is not None
        storable(answer.answer)


async def nobody(host: str, port: int, **_: object) -> list[Any]:
    """Knows addresses, and no name."""
    assert isinstance(host, str)
    assert 0 < port < 65_536
    raise OSError(host)


def address_seeds() -> list[bytes]:
    hosts = (
        "agent.example",
        "127.0.0.1",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25eth0]",
        "代理.example",
        "１２７.0.0.1",
    )
    return [f"https://{host}/told?token=x".encode() for host in hosts] + [b"http://u:p@agent.example:8080/a;b#c"]


_JSON_WORDS = (
    b"null",
    b"true",
    b"[[[[[[",
    b'{"ret":',
    b"1e999",
    b'"\\ud800"',
    b"\\u0000",
    b"9" * 40,
    b"-1",
    b"GMT",
    CUT,
)
_BILL_WORDS = (
    "笔".encode(), "元".encode(), "共".encode(), b"[9999-12-31 23:59:59]", b"[0001-01-01 00:00:00]", b'"', b"\t", b"9" * 60,
)  # fmt: skip
_URL_WORDS = (b"@", b"%25", b"[", b"]", b":", b"//", b"\\", b"\xef\xbc\x8e", b"https://", b":99999", b"\xc2\xad")

PARSERS = (
    Parser("alipay_bills", bill, bill_seeds, _BILL_WORDS, ("pipeline.alipay_bill",), 100, 8_192),
    Parser("callback_answers", on_a_loop(callback_answer), answer_seeds, _JSON_WORDS, ("pipeline.outbound",), 60),
    Parser(
        "callback_addresses", on_a_loop(callback_address), address_seeds, _URL_WORDS, ("pipeline.outbound",), 60, 512
    ),
)
