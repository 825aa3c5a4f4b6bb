"""Parsers of what 12306 answers, through the client that asks it. An answer here is an HTTP body of status 200."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from yarl import URL

from pipeline.clock import WallClock
from pipeline.errors import UpstreamError
from pipeline.ports import RailwayOrder
from pipeline.railway.http_account import HttpAccount
from pipeline.railway.http_railway import HttpRailway
from pipeline.railway.http_session import Exchange
from tests.fuzz.parser import CUT, Parser, Take, parts, storable
from tests.unit.test_properties_railway import ROW, TICKET

HOLD, TRADE = "E646076788", "3E6460767881"
BASE, CASHIER = "https://kyfw.example", "https://cashier.example/pay"
AT = datetime(2014, 11, 17, 12, 31, 20, tzinfo=UTC)


class Answers:
    """An aiohttp session of one exchange that answers with bodies it was given; the last one again and again."""

    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies

    def request(self, *_: object, **__: object) -> Answers:
        return self

    async def __aenter__(self) -> SimpleNamespace:
        body = self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]
        content = asyncio.StreamReader()
        content.feed_data(body)
        content.feed_eof()
        return SimpleNamespace(status=200, headers={"Date": "Mon, 17 Nov 2014 12:31:20 GMT"}, content=content)

    async def __aexit__(self, *_: object) -> None:
        """It was read."""

    async def close(self) -> None:
        """Nothing is open."""


def session_of(*bodies: bytes) -> aiohttp.ClientSession:
    return cast(aiohttp.ClientSession, Answers(list(bodies)))


def on_a_loop(work: Callable[[bytes], Coroutine[Any, Any, None]]) -> Callable[[], Any]:
    """One loop for all inputs."""

    @contextmanager
    def opened() -> Iterator[Take]:
        with asyncio.Runner() as runner:
            yield lambda data: runner.run(work(data))

    return opened


async def railway(data: bytes) -> None:
    """Its answers, one part each: to the lists of orders, to a login, on the way to the payment form."""
    asked, *bodies = parts(data, 7)
    account = HttpAccount(Exchange("railway", session_of(*bodies)), URL(BASE), URL(CASHIER), timeout_s=30, skew_s=0.0)
    try:
        match asked[:1]:
            case b"u":
                for order in await account.unpaid_orders():
                    order_storable(order)
            case b"f":
                found = await account.find_order(HOLD, around=AT)
                if found is not None:
                    order_storable(found)
            case b"p":
                form = await account.payment_form(HOLD)
                assert form.amount_fen > 0
                assert form.trade_no.startswith(f"3{HOLD}")
                storable(form.trade_no)
            case _:
                client = HttpRailway(
                    BASE,
                    cashier_url=CASHIER,
                    timeout_s=30,
                    clock=WallClock(),
                    session_factory=lambda: session_of(*bodies),
                )
                await client.login("agent_user01", "an invented password")
    except UpstreamError as error:
        words = error.detail
    else:
        return
    storable(words)
    assert "an invented password" not in words


def order_storable(order: RailwayOrder) -> None:
    """The core works with it, and its tickets are kept with the purchase."""
    order.departure_at.astimezone(UTC)
    assert order.total_fen >= 0
    for text in (order.hold_no, order.train_no, order.from_station, order.to_station):
        storable(text)
    for ticket in order.tickets:
        for text in (
            ticket.passenger_name,
            ticket.id_no,
            ticket.seat,
            ticket.coach_no,
            ticket.seat_no,
            ticket.status_code,
        ):
            storable(text)


def railway_seeds() -> list[bytes]:
    def said(data: object = None, **more: object) -> bytes:
        return json.dumps(
            {"status": True, "httpstatus": 200, "messages": [], "data": data, **more}, ensure_ascii=False
        ).encode()

    unpaid = said({"orderDBList": [ROW], "to_page": "db"})
    finished = said(
        {"OrderDTODataList": [ROW | {"tickets": [TICKET | {"ticket_status_code": "a"}]}], "order_total_number": "1"}
    )
    gave_up = said(None, status=False, messages=["当前网络忙，请稍后再试"])
    empty = said({"OrderDTODataList": [], "order_total_number": 0})
    login = [said({"isstudentDate": False, "is_login_passCode": "N"}), said({"loginCheck": "Y"}), said({}), said({})]
    wrong = said({}, messages=["密码输入错误。如果输错次数超过4次，用户将被锁定。"])
    paid = [
        said({"existError": "N"}),
        b"<html></html>",
        said({"flag": True, "payForm": pay_form()}),
        gateway(),
        pay_page(),
    ]
    calls = [
        [b"u", unpaid],
        [b"u", gave_up],
        [b"f", finished, empty],
        [b"l", *login],
        [b"l", login[0], login[0], wrong],
    ]
    return [
        CUT.join(call) for call in [*calls, [b"p", *paid], [b"p", said({"existError": "Y", "errorMsg": "未找到订单"})]]
    ]


def pay_form() -> dict[str, str]:
    req = f"<PayReq><orderId>{TRADE}</orderId><amount>41300</amount><orderTimeoutDate>20141117210122</orderTimeoutDate></PayReq>"
    names = ("interfaceName", "interfaceVersion", "transType", "appId", "merSignMsg")
    return {
        **dict.fromkeys(names, "1"),
        "epayurl": f"{BASE}/pay/payGateway",
        "tranData": base64.b64encode(req.encode()).decode(),
    }


def gateway() -> bytes:
    given = ("channelId", "merCustomIp", "orderTimeoutDate")
    return "".join(f'<input type="hidden" name="{name}" value="1">' for name in given).encode()


def pay_page() -> bytes:
    fields = {
        "ord_id_ext": TRADE,
        "ord_amt": "413.00",
        "ord_pmt_timeout": "20141117210122",
        "service": "create_direct_pay_by_user",
    }
    inputs = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
    return f'<form action="{CASHIER}/gateway.do" method="post">{inputs}</form>'.encode()


_JSON_WORDS = (b"null", b"true", b"[[[[[[", b'{"a":', b"1e999", b'"\\ud800"', b"\\u0000", b"9" * 40, b"-1", CUT)
HTML_WORDS = (
    b"<![", b"<!--", b"&#x;", b"&#99999999999;", b"<form", b"</form>", b"<input type=hidden", b"name=", b"value=", b"<div id=result",
)  # fmt: skip
XML_WORDS = (b"<!DOCTYPE", b"<![CDATA[", b"&lt;", b"<trade>", b"<?xml version='1.0' encoding='", b"gbk", b"utf-16")
_PAGES = tuple(
    f"pipeline.railway.{name}"
    for name in ("envelope", "orders", "pages", "tran_data", "safe_xml", "http_account", "http_railway", "wire_texts")
)

PARSERS = (
    Parser("railway", on_a_loop(railway), railway_seeds, (*_JSON_WORDS, *HTML_WORDS, *XML_WORDS), _PAGES, 120, 8_192),
)
