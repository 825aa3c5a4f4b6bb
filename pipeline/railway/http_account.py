"""What a logged-in 12306 account can be asked over HTTP: its two order lists, and the way to a payment form."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from yarl import URL

from pipeline.errors import Garbled, UpstreamError
from pipeline.ports import PaymentForm, RailwayOrder
from pipeline.railway.envelope import (
    SHANGHAI,
    Fields,
    list_of,
    object_of,
    read_envelope,
    text_of,
    whole_number,
)
from pipeline.railway.http_session import Answer, Exchange, Pairs, ending
from pipeline.railway.orders import merge, read_order
from pipeline.railway.pages import decode, hidden_value
from pipeline.railway.tran_data import TranData, read_payment_form, read_tran_data
from pipeline.railway.wire_texts import PAY_FAILED, failure, pay_step_failure

EPAY_ORIGIN: Final = URL("https://epay.12306.cn")
GATEWAY_PATH: Final = "/pay/payGateway"
ALIPAY: Final = "33000010"  # bankId, B.3
PAGE_SIZE: Final = 8  # B.4, what 12306's own pages ask for
PAGES_MAX: Final = 50  # an account with more rows than this for one number is no answer

_SIGNED: Final = ("tranData", "transType", "appId", "merSignMsg")  # sent to the gateway and again to webBusiness
_PAY_FORM: Final = ("interfaceName", "interfaceVersion", *_SIGNED)
_GATEWAY_GIVES: Final = ("channelId", "merCustomIp", "orderTimeoutDate")
_EMPTY_PAYCHECK: Final = (
    "batch_nos",
    "coach_nos",
    "seat_nos",
    "passenger_id_types",
    "passenger_id_nos",
    "passenger_names",
    "insure_types",
    "hasBoughtIns",
)


class HttpAccount:
    """The `RailwaySession` port over HTTP. Every call has its own overall end of `timeout_s` seconds."""

    def __init__(self, exchange: Exchange, base: URL, cashier: URL, *, timeout_s: float, skew_s: float) -> None:
        self.skew_s = skew_s
        self._exchange = exchange
        self._base = base
        self._cashier = cashier
        self._timeout_s = timeout_s

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        """B.2: status true without `data` is 12306's "none". Raises UpstreamError."""
        return await ending("railway", self._timeout_s, self._unpaid_orders())

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        """B.4: trips to come (G), then past ones (H), booked within a day of `around`. Raises UpstreamError.

        None is a good answer of both lists, read to their end. An unpaid order is in neither.
        """
        return await ending("railway", self._timeout_s, self._find_order(hold_no, around))

    async def payment_form(self, hold_no: str) -> PaymentForm:
        """B.3, steps 1 to 5: continue, pay page, paycheck, gateway, webBusiness. Moves no money. Raises UpstreamError."""
        return await ending("railway", self._timeout_s, self._payment_form(hold_no))

    async def close(self) -> None:
        """Forget the cookies and the connection; 12306 is told nothing."""
        await self._exchange.close()

    async def _unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        fields = [("_json_att", "")]
        data = await self._data("/otn/queryOrder/queryMyOrderNoComplete", fields, "/otn/queryOrder/initNoComplete")
        if data is None or ("orderCacheDTO" in data and "orderDBList" not in data):  # none, or one still queueing
            return ()
        return tuple(read_order(row) for row in list_of(data, "orderDBList"))

    async def _find_order(self, hold_no: str, around: datetime) -> RailwayOrder | None:
        found: list[RailwayOrder] = []
        for query_where in ("G", "H"):
            rows = await self._finished(hold_no, around, query_where)
            found += [read_order(row) for row in rows if text_of(row, "sequence_no") == hold_no]
        return merge(found)

    async def _finished(self, hold_no: str, around: datetime, query_where: str) -> list[Fields]:
        """Every row of one list, over all its pages. Raises Garbled when the list ends before its own count."""
        day = around.astimezone(SHANGHAI).date()
        rows: list[Fields] = []
        for page_index in range(PAGES_MAX):
            fields = [
                ("queryType", "1"),
                ("queryStartDate", (day - timedelta(days=1)).isoformat()),
                ("queryEndDate", (day + timedelta(days=1)).isoformat()),
                ("come_from_flag", "my_order"),
                ("pageSize", str(PAGE_SIZE)),
                ("pageIndex", str(page_index)),
                ("query_where", query_where),
                ("sequeue_train_name", hold_no),
                ("_json_att", ""),
            ]
            data = await self._data("/otn/queryOrder/queryMyOrder", fields, "/otn/queryOrder/init")
            if data is None:
                raise Garbled("railway", "a list of finished orders without data")
            page = list_of(data, "OrderDTODataList")
            rows += page
            total = _row_count(data)
            if (total is None and len(page) < PAGE_SIZE) or (total is not None and len(rows) >= total):
                return rows
            if not page:
                raise Garbled("railway", f"{len(rows)} finished orders listed, {total} announced")
        raise Garbled("railway", f"more than {PAGES_MAX} pages of finished orders")

    async def _payment_form(self, hold_no: str) -> PaymentForm:
        await self._continue(hold_no)
        await self._exchange.get(self._url("/otn/payOrder/init"), referer=self._url("/otn/queryOrder/initNoComplete"))
        pay_form = await self._paycheck()
        owed = read_tran_data(pay_form)
        page = await self._epay(pay_form, owed)
        return read_payment_form(page, hold_no, owed, self._cashier / "gateway.do")

    async def _continue(self, hold_no: str) -> None:
        """B.3 row 1. The first step that 12306 may refuse by name."""
        data = await self._pay_step(
            "/otn/queryOrder/continuePayNoCompleteMyOrder",
            [("sequence_no", hold_no), ("pay_flag", "pay"), ("_json_att", "")],
            "/otn/queryOrder/initNoComplete",
        )
        if text_of(data, "existError") != "N":
            raise pay_step_failure(str(data.get("errorMsg", "")))

    async def _paycheck(self) -> Fields:
        """B.3 row 3: the fields are there and empty, as 12306's page sends them for an order without insurance."""
        fields = [(name, "") for name in _EMPTY_PAYCHECK]
        fields += [("if_buy_insure_only", "N"), ("_json_att", "")]
        data = await self._pay_step("/otn/payOrder/paycheckNew", fields, "/otn/payOrder/init")
        if data.get("flag") is not True:
            raise pay_step_failure(str(data.get("message", "")))
        return object_of(data, "payForm")

    async def _epay(self, pay_form: Fields, owed: TranData) -> str:
        """B.3 rows 4 and 5: the page that holds the cashier form."""
        gateway = self._epay_url(text_of(pay_form, "epayurl"))
        signed = {name: text_of(pay_form, name) for name in _PAY_FORM}
        signed["tranData"] = "".join(signed["tranData"].split())
        answer = await self._exchange.post(gateway, [*signed.items(), ("_json_att", "")])
        page = decode("railway", answer.body)
        try:
            given = [(name, hidden_value(page, name)) for name in _GATEWAY_GIVES]
        except ValueError as error:
            raise _page_failure(page, str(error)) from None
        fields = [*((name, signed[name]) for name in _SIGNED), *given, ("bankId", ALIPAY), ("_json_att", "")]
        answer = await self._exchange.post(gateway.with_path("/pay/webBusiness"), fields)
        page = decode("railway", answer.body)
        if PAY_FAILED in page:
            raise _page_failure(page, f"no form for trade {owed.trade_no}")
        return page

    def _epay_url(self, address: str) -> URL:
        """12306 tells where its gateway is; only our own RAILWAY_URL's host or 12306's known one is believed."""
        try:
            url = URL(address)
            known = url.origin() in (self._base.origin(), EPAY_ORIGIN) and url.path == GATEWAY_PATH
        except ValueError:
            known = False
        if not known or url.user is not None or url.query_string:
            raise Garbled("railway", "epayurl points to an unknown place")
        return url

    async def _pay_step(self, path: str, fields: Pairs, referer: str) -> Fields:
        """A call on the way to the form: what 12306 says instead of data may be a refusal by name."""
        envelope = read_envelope((await self._post(path, fields, referer)).body)
        if not envelope.status or envelope.data is None:
            raise pay_step_failure(envelope.text)
        return envelope.data

    async def _data(self, path: str, fields: Pairs, referer: str) -> Fields | None:
        """`data` of a good answer; None when 12306 left it out and gave no reason."""
        envelope = read_envelope((await self._post(path, fields, referer)).body)
        if not envelope.status or (envelope.data is None and envelope.text):
            raise failure(envelope.text)
        return envelope.data

    async def _post(self, path: str, fields: Pairs, referer: str) -> Answer:
        return await self._exchange.post(self._url(path), fields, referer=self._url(referer), script=True)

    def _url(self, path: str) -> URL:
        return self._base.with_path(path)


def _row_count(data: Fields) -> int | None:
    """`order_total_number`; 12306 sometimes leaves it empty (B.4)."""
    return None if data.get("order_total_number") in ("", None) else whole_number(data, "order_total_number")


def _page_failure(page: str, otherwise: str) -> UpstreamError:
    return pay_step_failure(PAY_FAILED) if PAY_FAILED in page else Garbled("railway", otherwise)
