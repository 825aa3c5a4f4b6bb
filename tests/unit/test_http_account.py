"""What a logged-in session does with answers that the sandbox never gives: long lists, odd addresses, lost sessions."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from pipeline.clock import WallClock
from pipeline.errors import Busy, Declined, Garbled, SessionLost, UpstreamError
from pipeline.ports import RailwaySession
from pipeline.railway.http_railway import HttpRailway
from tests.unit.canned_server import canned, http, http_json

HOLD = "E123456789"
AROUND = datetime(2014, 11, 17, 16, 30, tzinfo=UTC)  # already the 18th in Shanghai

T = TypeVar("T")


def good(data: object) -> bytes:
    return http_json({"status": True, "httpstatus": 200, "data": data, "messages": []})


LOGIN = (
    http("<html>登录</html>"),
    good({"is_login_passCode": "N"}),
    http_json({"status": True, "data": {"loginCheck": "Y"}, "messages": []}, "Date: Mon, 17 Nov 2014 12:00:00 GMT"),
    http("<html></html>"),
)
PAY_PAGE = http("<html>席位已锁定</html>")


def asked(call: Callable[[RailwaySession], Awaitable[T]], *answers: bytes) -> tuple[T, list[str]]:
    """The call's result on a fresh session, and the requests it made: path and body."""

    async def run() -> tuple[T, list[str]]:
        async with canned(*LOGIN, *answers) as server:
            railway = HttpRailway(server.base, cashier_url=f"{server.base}/cashier", timeout_s=5, clock=WallClock())
            session = await railway.login("agent_user01", "not-a-real-one")
            try:
                result = await call(session)
            finally:
                await session.close()
            heads = [request.decode() for request in server.requests[len(LOGIN) :]]
            return result, [f"{text.split()[1]} {text.rpartition(chr(10))[2]}" for text in heads]

    return asyncio.run(run())


def refused(call: Callable[[RailwaySession], Awaitable[object]], *answers: bytes) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        asked(call, *answers)
    return caught.value


def row(sequence_no: str) -> dict[str, Any]:
    passenger = {"passenger_name": "张三", "passenger_id_type_code": "1", "passenger_id_no": "0000***********01X"}
    return {
        "sequence_no": sequence_no,
        "train_code_page": "K1234",
        "start_train_date_page": "2014-11-20 00:30",
        "from_station_name_page": ["上海虹桥"],
        "to_station_name_page": ["北京南"],
        "ticket_price_all": 9550,
        "tickets": [
            {
                "passengerDTO": passenger,
                "coach_no": "11",
                "seat_name": "无座",
                "seat_type_name": "硬座",
                "ticket_type_code": "1",
                "ticket_price": 9550,
                "ticket_status_code": "a",
            }
        ],
    }


def rows(*numbers: str, total: object) -> bytes:
    return good({"order_total_number": total, "OrderDTODataList": [row(number) for number in numbers]})


OTHERS = tuple(f"E00000000{n}" for n in range(8))
NO_ROWS = rows(total="")


async def find(session: RailwaySession) -> object:
    return await session.find_order(HOLD, around=AROUND)


async def form(session: RailwaySession) -> object:
    return await session.payment_form(HOLD)


@pytest.mark.parametrize("total", ["9", 9, ""])
def test_a_finished_order_is_found_on_the_second_page(total: object) -> None:
    found, requests = asked(find, rows(*OTHERS, total=total), rows(HOLD, total=total), NO_ROWS)
    assert found is not None
    assert [text.split("pageIndex=")[1][0] + text.split("query_where=")[1][0] for text in requests] == [
        "0G",
        "1G",
        "0H",
    ]
    assert "queryStartDate=2014-11-17&queryEndDate=2014-11-19" in requests[0]


def test_only_the_exact_number_is_found() -> None:
    assert asked(find, rows(f"{HOLD}0", "E12345678", total=2), NO_ROWS)[0] is None


@pytest.mark.parametrize(
    "answer",
    [
        rows(*OTHERS, total=9),
        rows(total=1),
        good({"order_total_number": "0"}),
        http_json({"status": True, "messages": []}),
        good({"order_total_number": "many", "OrderDTODataList": []}),
    ],
)
def test_a_list_that_ends_before_its_count_or_has_no_data_is_no_proof(answer: bytes) -> None:
    assert isinstance(refused(find, answer, rows(total=9)), Garbled)


def test_an_order_that_still_queues_is_not_an_unpaid_order() -> None:
    async def unpaid(session: RailwaySession) -> object:
        return await session.unpaid_orders()

    assert asked(unpaid, good({"orderCacheDTO": {}}))[0] == ()
    assert isinstance(refused(unpaid, good({})), Garbled)


def pay_form(epayurl: str) -> bytes:
    xml = f"<PayReq><orderId>3{HOLD}00000001</orderId><amount>9550</amount><orderTimeoutDate>20141117210120</orderTimeoutDate></PayReq>"
    names = dict.fromkeys(("interfaceName", "interfaceVersion", "merSignMsg", "appId", "transType"), "x")
    packed = base64.encodebytes(xml.encode()).decode()
    return good({"flag": True, "payForm": {**names, "tranData": packed, "epayurl": epayurl}})


@pytest.mark.parametrize(
    "epayurl",
    [
        "https://epay.12306.cn.evil.example/pay/payGateway",
        "http://epay.12306.cn/pay/payGateway",
        "https://me@epay.12306.cn/pay/payGateway",
        "https://epay.12306.cn/other",
        "http://127.0.0.1:1/pay/payGateway",
        "/pay/payGateway",
        "http://[",
    ],
)
def test_a_gateway_at_an_unknown_place_is_not_believed(epayurl: str) -> None:
    assert isinstance(refused(form, good({"existError": "N"}), PAY_PAGE, pay_form(epayurl)), Garbled)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ((good({"existError": "Y", "errorMsg": "该订单不允许支付"}),), Declined),
        ((http_json({"status": True, "messages": ["没有该订单"]}),), Declined),
        ((good({"existError": "Y", "errorMsg": "已完成支付"}),), Busy),
        ((good({"existError": "Y", "errorMsg": "请刷新订单列表后重试"}),), Garbled),
        ((good({"existError": "?"}),), Garbled),
        ((http("", "302 Found", "Location: /otn/login/init"),), SessionLost),
        ((good({"existError": "N"}), http("", "302 Found", "Location: /otn/login/init")), SessionLost),
        ((good({"existError": "N"}), PAY_PAGE, good({"flag": False, "message": "该订单不允许支付"})), Declined),
        ((good({"existError": "N"}), PAY_PAGE, good({"flag": False, "message": "已出票"})), Busy),
        ((good({"existError": "N"}), PAY_PAGE, good({"flag": True})), Garbled),
    ],
)
def test_a_walk_that_ends_early_has_its_error(answers: tuple[bytes, ...], kind: type[UpstreamError]) -> None:
    assert type(refused(form, *answers)) is kind
