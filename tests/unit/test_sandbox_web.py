"""12306, epay and the cashier over HTTP: pages, fields, and the ways not to answer."""

from __future__ import annotations

import base64
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from tests.unit.sandbox_server import AJAX, Caller, call
from tests.unit.sandbox_world import ACCOUNT, HOLD_NO, START, hold_body

SEARCH = {
    "queryType": "1",
    "queryStartDate": "2026-11-21",
    "queryEndDate": "2026-11-23",
    "come_from_flag": "my_order",
    "pageSize": "8",
    "pageIndex": "0",
    "query_where": "G",
    "sequeue_train_name": HOLD_NO,
}


def test_a_held_order_is_paid_and_found() -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body())
        await caller.log_in()
        fields = await caller.walk()
        assert len(fields) == 17
        assert (fields["ord_amt"], fields["service"]) == ("1241.00", "create_direct_pay_by_user")
        assert fields["ord_pmt_timeout"] == "20261122123000"
        status, page = await caller.submit(fields)
        assert status == 200
        assert 'data-code="SUCCESS">支付成功' in page.decode()
        query = {"service": "single_trade_query", "out_trade_no": fields["ord_id_ext"]}
        xml = await caller.page("/cashier/gateway.do", **query)
        assert "<trade_status>TRADE_SUCCESS</trade_status><total_fee>1241.00</total_fee>" in xml
        found = await caller.ajax("/otn/queryOrder/queryMyOrder", **SEARCH)
        (order,) = found["data"]["OrderDTODataList"]
        assert [ticket["ticket_status_code"] for ticket in order["tickets"]] == ["a", "a"]
        assert "data" not in await caller.ajax("/otn/queryOrder/queryMyOrderNoComplete")
        assert caller.world.hold(HOLD_NO) == {"state": "issued", "pays": 1, "debits": 1}

    call(story)


def test_the_unpaid_list_speaks_in_12306s_fields() -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body())
        await caller.log_in()
        data = (await caller.ajax("/otn/queryOrder/queryMyOrderNoComplete"))["data"]
        (order,) = data["orderDBList"]
        assert data["to_page"] == "db"
        wanted: dict[str, Any] = {
            "sequence_no": HOLD_NO,
            "order_date": "2026-11-22 12:00:00",
            "ticket_totalnum": 2,
            "ticket_price_all": 124100,
            "ticket_total_price_page": "1241.0",
            "train_code_page": "T189",
            "start_train_date_page": "2026-11-30 10:00",
            "from_station_name_page": ["北京西"],
            "to_station_name_page": ["南宁"],
        }
        assert {name: order[name] for name in wanted} == wanted
        adult, child = order["tickets"]
        assert adult["passengerDTO"]["passenger_id_no"] == "0000***********000"
        assert (adult["ticket_type_code"], child["ticket_type_code"]) == ("1", "2")
        assert (adult["coach_no"], adult["seat_name"], adult["seat_type_name"]) == ("11", "04号下铺", "硬卧")
        assert (adult["ticket_price"], adult["ticket_status_code"]) == (82050, "i")
        assert adult["pay_limit_time"] == "2026-11-22 12:30:00"

    call(story)


def test_the_pay_form_carries_amount_and_deadline_inside() -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body())
        await caller.log_in()
        await caller.ajax("/otn/queryOrder/continuePayNoCompleteMyOrder", sequence_no=HOLD_NO, pay_flag="pay")
        form = (await caller.ajax("/otn/payOrder/paycheckNew"))["data"]["payForm"]
        assert "\n" in form["tranData"]
        xml = base64.b64decode(form["tranData"]).decode()
        assert f"<orderId>{form['payOrderId']}</orderId><amount>124100</amount>" in xml
        assert "<orderTimeoutDate>20261122123000</orderTimeoutDate>" in xml
        assert form["epayurl"] == f"{caller.base}/pay/payGateway"
        changed = {**form, "tranData": base64.encodebytes(xml.replace("124100", "1").encode()).decode()}
        assert "交易失败" in await caller.page("/pay/payGateway", **changed)
        gateway = {**form, "channelId": "1", "merCustomIp": "127.0.0.1", "orderTimeoutDate": "20261122123000"}
        assert "交易失败" in await caller.page("/pay/webBusiness", **gateway, bankId="33000020")

    call(story)


def test_12306_answers_scripts_of_its_own_pages_only() -> None:
    async def story(caller: Caller) -> None:
        async with caller.http.post(f"{caller.base}/otn/queryOrder/queryMyOrderNoComplete") as answer:
            assert answer.status == 405
        lost = await caller.ajax("/otn/queryOrder/queryMyOrderNoComplete")
        assert (lost["status"], lost["messages"]) == (False, ["用户未登录"])

    call(story)


def test_a_refused_login_is_a_message_without_a_login_check() -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body("wrong_password"))
        with pytest.raises(AssertionError, match="密码输入错误"):
            await caller.log_in()

    call(story)


def test_the_captcha_of_a_session_can_be_read_from_its_picture() -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body("captcha"))
        async with caller.http.get(f"{caller.base}/otn/login/init"):
            pass
        conf = await caller.ajax("/otn/login/conf", **{"loginUserDTO.user_name": ACCOUNT})
        assert conf["data"]["is_login_passCode"] == "Y"
        async with caller.http.get(f"{caller.base}/otn/passcodeNew/getPassCodeNew") as answer:
            image = await answer.read()
        assert image.startswith(b"\xff\xd8\xff\xfe")
        check = "/otn/passcodeNew/checkRandCodeAnsyn"
        assert (await caller.ajax(check, randCode="no"))["data"] == {"result": "0", "msg": "randCodeError"}
        right = image[6:-2].decode()
        assert (await caller.ajax(check, randCode=right))["data"] == {"result": "1", "msg": "randCodeRight"}

    call(story)


def test_12306s_clock_shows_in_the_date_header() -> None:
    async def story(caller: Caller) -> None:
        await caller.control("PUT", "/sandbox/clock", {"skew_s": 40})
        async with caller.http.get(f"{caller.base}/otn/login/init") as answer:
            assert (parsedate_to_datetime(answer.headers["Date"]) - START).total_seconds() == 40

    call(story)


@pytest.mark.parametrize(
    ("behaviour", "status", "part"),
    [
        ("error_paid", 500, b"error"),
        ("redirect_307", 307, b""),
        ("refuse", 200, 'data-code="FAIL">交易失败：账户余额不足'.encode()),
        ("late_pay", 200, b'data-code="PROCESSING"'),
        ("garbage", 200, b"\xff\xfe"),
    ],
)
def test_the_cashier_answers_a_form_as_the_row_says(behaviour: str, status: int, part: bytes) -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body(behaviour))
        await caller.log_in()
        answered, page = await caller.submit(await caller.walk())
        assert answered == status
        assert part in page

    call(story)


@pytest.mark.parametrize(("behaviour", "pays"), [("reset_after_pay", 1), ("reset_before_read", 0)])
def test_a_reset_is_a_reset(behaviour: str, pays: int) -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body(behaviour))
        await caller.log_in()
        fields = await caller.walk()
        with pytest.raises(aiohttp.ClientConnectionError):
            await caller.submit(fields)
        shown = caller.world.hold(HOLD_NO)
        assert shown is not None
        assert shown["pays"] == pays

    call(story)


@pytest.mark.parametrize(("behaviour", "delay_ms"), [("timeout_paid", 0), ("ok", 60_000)])
def test_a_form_that_waits_in_vain_was_journalled_before(behaviour: str, delay_ms: int) -> None:
    async def story(caller: Caller) -> None:
        caller.world.add_hold(hold_body(behaviour, delay_ms=delay_ms))
        await caller.log_in()
        fields = await caller.walk()
        with pytest.raises(TimeoutError):
            await caller.submit(fields, timeout_s=0.2)
        assert caller.world.hold(HOLD_NO) == {"state": "issued", "pays": 1, "debits": 1}

    call(story)


@pytest.mark.parametrize("mode", ["refuse", "503", "maintenance"])
def test_an_outage_covers_12306_and_the_cashier_but_not_the_controls(mode: str) -> None:
    async def story(caller: Caller) -> None:
        await caller.control("PUT", "/sandbox/outage", {"railway": True, "cashier": True, "mode": mode, "for_s": 60})
        query = {"service": "single_trade_query", "out_trade_no": "0"}
        for path, form in (("/otn/queryOrder/queryMyOrderNoComplete", {}), ("/cashier/gateway.do", query)):
            request = caller.http.post(caller.base + path, data=form, headers=AJAX)
            if mode == "refuse":
                with pytest.raises(aiohttp.ClientConnectionError):
                    await request
                continue
            async with request as answer:
                assert answer.status == (503 if mode == "503" else 200)
                assert ("系统维护" in await answer.text()) is (mode == "maintenance")
        assert await caller.control("GET", "/sandbox/journal") == (200, [])

    call(story)
