"""The way to the cashier, read: its form and what 12306 signed, its verdict, its trades, and what is not believed."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime

import pytest
from yarl import URL

from pipeline.clock import WallClock
from pipeline.errors import Garbled
from pipeline.ports import PaymentForm, Trade, TradeState
from pipeline.railway.http_cashier import HttpCashier
from pipeline.railway.pages import hidden_value, read_forms, read_verdict
from pipeline.railway.safe_xml import read_xml
from pipeline.railway.tran_data import read_payment_form, read_tran_data
from tests.unit.canned_server import canned, http

HOLD = "E123456789"
TRADE = "3E12345678900000001"
GATEWAY = URL("https://cashier.example/cashier/gateway.do")


def packed(**changes: str) -> dict[str, str]:
    """payForm, its tranData broken into lines as 12306 does."""
    fields = {"orderTimeoutDate": "20141117210120", "orderId": TRADE, "amount": "124100"} | changes
    xml = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return {"tranData": base64.encodebytes(f"<PayReq>{xml}</PayReq>".encode()).decode()}


def cashier_page(action: str = str(GATEWAY), method: str = "post", extra: str = "", **changes: str) -> str:
    fields = {
        "ord_name": "火车票 &amp; 保险",
        "service": "create_direct_pay_by_user",
        "ord_amt": "1241.00",
        "ord_pmt_timeout": "20141117210120",
        "ord_id_ext": TRADE,
    } | changes
    inputs = "".join(f'<input type="hidden" name="{name}" value="{value}"/>' for name, value in fields.items())
    return f'<html><form action="{action}" method="{method}">{inputs}{extra}</form></html>'


def read_form(page: str, **tran_data: str) -> PaymentForm:
    return read_payment_form(page, HOLD, read_tran_data(packed(**tran_data)), GATEWAY)


def test_a_form_that_agrees_with_tran_data_is_handed_on_as_it_stands() -> None:
    form = read_form(cashier_page())
    assert (form.hold_no, form.trade_no, form.amount_fen) == (HOLD, TRADE, 124100)
    assert form.deadline == datetime(2014, 11, 17, 13, 1, 20, tzinfo=UTC)
    assert form.fields[0] == ("ord_name", "火车票 & 保险")
    assert [name for name, _ in form.fields] == ["ord_name", "service", "ord_amt", "ord_pmt_timeout", "ord_id_ext"]


@pytest.mark.parametrize(
    "page",
    [
        cashier_page(ord_amt="1241.01"),
        cashier_page(ord_amt="1241.001"),
        cashier_page(ord_amt=""),
        cashier_page(ord_id_ext="3E99999999900000001"),
        cashier_page(ord_pmt_timeout="20141117210121"),
        cashier_page(ord_pmt_timeout=""),
        cashier_page(method="get"),
        cashier_page(action="https://cashier.example.evil/cashier/gateway.do"),
        cashier_page(action="http://cashier.example/cashier/gateway.do"),
        cashier_page(action="https://cashier.example:444/cashier/gateway.do"),
        cashier_page(action="https://cashier.example/cashier/other.do"),
        cashier_page(action="https://cashier.example/cashier/gateway.do?x=1"),
        cashier_page(action="https://me@cashier.example/cashier/gateway.do"),
        cashier_page(action="gateway.do"),
        cashier_page(extra='<input type="hidden" name="ord_amt" value="1.00">'),
        cashier_page() + cashier_page(),
        "<html></html>",
        "<![nonsense[",
    ],
)
def test_a_form_that_differs_in_anything_is_never_handed_on(page: str) -> None:
    with pytest.raises(Garbled):
        read_form(page)


@pytest.mark.parametrize(
    "tran_data",
    [
        {"orderId": "3E99999999900000001"},
        {"orderId": "4E12345678900000001"},
        {"amount": "0"},
        {"amount": "1241.00"},
        {"amount": "１"},
        {"amount": "124100</amount><amount>1"},
        {"orderTimeoutDate": "tomorrow"},
    ],
)
def test_tran_data_about_something_else_is_garbled(tran_data: dict[str, str]) -> None:
    with pytest.raises(Garbled):
        read_form(cashier_page(ord_id_ext=tran_data.get("orderId", TRADE)), **tran_data)


def test_inputs_are_found_inside_and_outside_of_forms() -> None:
    page = '<input type=hidden name=a value=1><form action=x><input TYPE="hidden" name="b" value="&lt;2"></form>'
    assert [form.action for form in read_forms(page)] == ["x", ""]
    assert (hidden_value(page, "a"), hidden_value(page, "b")) == ("1", "<2")
    with pytest.raises(ValueError, match="2 inputs a"):
        hidden_value(page + page, "a")


def test_a_verdict_is_read_only_when_there_is_exactly_one() -> None:
    page = '<div id="result" data-code="SUCCESS">支付成功</div>'
    verdict = read_verdict(f"<html>{page}</html>")
    assert verdict is not None
    assert (verdict.code, verdict.text) == ("SUCCESS", "支付成功")
    for unclear in ("", page + page, page.removesuffix("</div>"), "<div>x</div>", "<![nonsense["):
        assert read_verdict(unclear) is None


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
        b"<a>",
        b"",
        b"<a>" + b" " * 70_000 + b"</a>",
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
    ],
)
def test_xml_with_a_doctype_or_too_long_or_broken_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="XML"):
        read_xml(document)


def ask(document: str) -> Trade:
    async def run() -> Trade:
        async with canned(http(document)) as server:
            return await HttpCashier(server.base, timeout_s=5, clock=WallClock()).trade(TRADE)

    return asyncio.run(run())


def trade_xml(
    status: str, total: str = "1241.00", refund: str = "<refund_fee>0.00</refund_fee>", no: str = TRADE
) -> str:
    return (
        f"<alipay><is_success>T</is_success><response><trade><out_trade_no>{no}</out_trade_no>"
        f"<trade_status>{status}</trade_status><total_fee>{total}</total_fee>{refund}</trade></response></alipay>"
    )


@pytest.mark.parametrize(
    ("document", "trade"),
    [
        (trade_xml("TRADE_SUCCESS"), Trade(TradeState.PAID, 124100)),
        (trade_xml("TRADE_FINISHED", refund=""), Trade(TradeState.PAID, 124100)),
        (trade_xml("TRADE_SUCCESS", refund="<refund_fee>0.01</refund_fee>"), Trade(TradeState.REFUNDED, 124100)),
        (trade_xml("TRADE_CLOSED", refund="<refund_fee>1241.00</refund_fee>"), Trade(TradeState.REFUNDED, 124100)),
        (trade_xml("TRADE_CLOSED"), Trade(TradeState.CLOSED, 0)),
        (trade_xml("WAIT_BUYER_PAY"), Trade(TradeState.WAITING, 0)),
        ("<alipay><is_success>F</is_success><error>TRADE_NOT_EXIST</error></alipay>", Trade(TradeState.NONE, 0)),
    ],
)
def test_what_the_cashier_knows_of_a_trade(document: str, trade: Trade) -> None:
    assert ask(document) == trade


@pytest.mark.parametrize(
    "document",
    [
        trade_xml("TRADE_SUCCESS", no="3E00000000000000000"),
        trade_xml("TRADE_PENDING"),
        trade_xml("TRADE_SUCCESS", total="-1"),
        trade_xml("TRADE_SUCCESS", total=""),
        "<alipay><is_success>F</is_success><error>ILLEGAL_SIGN</error></alipay>",
        "<alipay><is_success>T</is_success><response/></alipay>",
        "<alipay/>",
        "<other><is_success>F</is_success><error>TRADE_NOT_EXIST</error></other>",
        "<html>",
        json.dumps({"is_success": "F"}),
    ],
)
def test_anything_but_a_clear_answer_about_our_trade_is_garbled(document: str) -> None:
    with pytest.raises(Garbled):
        ask(document)
