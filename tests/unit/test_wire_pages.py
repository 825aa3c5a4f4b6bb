"""12306's answers, read: orders, tickets, seats, its words, and what is not believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.errors import Busy, Declined, Garbled, SessionLost, Unreachable, UpstreamError
from pipeline.railway.envelope import fen_of_yuan, read_envelope
from pipeline.railway.orders import merge, read_order, seat_by_name
from pipeline.railway.wire_texts import failure, pay_step_failure

HOLD = "E123456789"


def ticket(**changes: Any) -> dict[str, Any]:
    fields = {
        "passengerDTO": {
            "passenger_name": "张三",
            "passenger_id_type_code": "1",
            "passenger_id_no": "0000***********01X",
        },
        "coach_no": "11",
        "seat_name": "04号下铺",
        "seat_type_code": "3",
        "seat_type_name": "硬卧",
        "ticket_type_code": "1",
        "ticket_price": 62050,
        "ticket_status_code": "i",
        "pay_limit_time": "2014-11-17 21:01:20",
    }
    return fields | changes


def order(**changes: Any) -> dict[str, Any]:
    fields = {
        "sequence_no": HOLD,
        "train_code_page": "K1234",
        "start_train_date_page": "2014-11-20 00:30",
        "from_station_name_page": ["上海虹桥"],
        "to_station_name_page": ["北京南"],
        "ticket_price_all": 124100,
        "ticket_total_price_page": "1241.0",
        "tickets": [ticket(), ticket(seat_name="04号中铺")],
    }
    return fields | changes


def test_an_unpaid_order_is_read_in_utc_and_fen() -> None:
    read = read_order(order())
    assert (read.hold_no, read.train_no, read.from_station, read.to_station) == (HOLD, "K1234", "上海虹桥", "北京南")
    assert read.departure_at == datetime(2014, 11, 19, 16, 30, tzinfo=UTC)
    assert read.pay_deadline == datetime(2014, 11, 17, 13, 1, 20, tzinfo=UTC)
    assert read.total_fen == 124100
    assert [one.seat for one in read.tickets] == ["硬卧下", "硬卧中"]
    assert (read.tickets[0].id_no, read.tickets[0].coach_no) == ("0000***********01X", "11")
    assert (read.tickets[0].ticket_type, read.tickets[0].price_fen) == ("1", 62050)


def test_a_paid_order_carries_no_deadline() -> None:
    paid = order(tickets=[ticket(ticket_status_code="a", pay_limit_time="")])
    assert read_order(paid).pay_deadline is None


def test_the_earliest_unpaid_ticket_sets_the_deadline() -> None:
    tickets = [
        ticket(),
        ticket(pay_limit_time="2014-11-17 21:01:10"),
        ticket(ticket_status_code="c", pay_limit_time=""),
    ]
    assert read_order(order(tickets=tickets)).pay_deadline == datetime(2014, 11, 17, 13, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seat_type", "seat_name", "seat"),
    [
        ("硬卧", "04号下铺", "硬卧下"),
        ("硬卧", "04号中铺", "硬卧中"),
        ("软卧", "12号上铺", "软卧上"),
        ("高级软卧", "01号下铺", "高级软卧下"),
        ("动卧", "01号上铺", "动卧上"),
        ("二等座", "12C号", "二等座"),
        ("硬座", "077号", "硬座"),
        ("硬座", "无座", "无座"),
        ("二等座", "无座", "无座"),
        ("硬卧", "04号", "硬卧"),
    ],
)
def test_seats_are_named_as_qunar_names_them(seat_type: str, seat_name: str, seat: str) -> None:
    assert seat_by_name(seat_type, seat_name) == seat


@pytest.mark.parametrize(("code", "qunar"), [("1", "1"), ("2", "0"), ("3", "2")])
def test_ticket_types_are_qunars(code: str, qunar: str) -> None:
    assert read_order(order(tickets=[ticket(ticket_type_code=code)])).tickets[0].ticket_type == qunar


def test_an_order_over_several_stretches_matches_no_single_trip() -> None:
    read = read_order(order(from_station_name_page=["上海", "南京"], to_station_name_page=["北京", "北京"]))
    assert (read.from_station, read.to_station) == ("上海/南京", "北京")


@pytest.mark.parametrize("total", [124100, "124100", 124100.0])
def test_amounts_come_in_three_shapes(total: object) -> None:
    assert read_order(order(ticket_price_all=total)).total_fen == 124100


@pytest.mark.parametrize(
    "changes",
    [
        {"ticket_price_all": 124000},
        {"ticket_price_all": 124100.5},
        {"ticket_price_all": True},
        {"ticket_price_all": -1},
        {"ticket_price_all": None},
        {"ticket_total_price_page": "1241.005"},
        {"tickets": []},
        {"tickets": None},
        {"tickets": [ticket(passengerDTO=None)]},
        {"tickets": [ticket(ticket_type_code="9")]},
        {"tickets": [ticket(ticket_price="6.5")]},
        {"tickets": [ticket(pay_limit_time="soon")]},
        {"start_train_date_page": "2014-11-20"},
        {"from_station_name_page": []},
        {"sequence_no": None},
    ],
)
def test_an_order_that_can_not_be_read_is_garbled(changes: dict[str, Any]) -> None:
    with pytest.raises(Garbled):
        read_order(order(**changes))


def test_rows_of_two_lists_become_one_order() -> None:
    going = read_order(order(tickets=[ticket(ticket_status_code="a")]))
    gone = read_order(order(tickets=[ticket(ticket_status_code="a"), ticket(ticket_status_code="c")]))
    both = merge([going, gone])
    assert both is not None
    assert [one.status_code for one in both.tickets] == ["a", "c"]
    assert merge([]) is None


@pytest.mark.parametrize(("yuan", "fen"), [("1241.00", 124100), ("95.5", 9550), ("0.01", 1), ("7", 700)])
def test_yuan_become_fen(yuan: str, fen: int) -> None:
    assert fen_of_yuan(yuan) == fen


@pytest.mark.parametrize("text", ["", "-1.00", "1.005", "1e3", "1,241.00", " 1", "NaN", "１.00"])
def test_what_is_no_amount_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        fen_of_yuan(text)


def test_no_unpaid_order_is_an_envelope_without_data() -> None:
    envelope = read_envelope(b'{"status":true,"httpstatus":200,"messages":[],"validateMessages":{}}')
    assert (envelope.status, envelope.data, envelope.text) == (True, None, "")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("您的账号已在其他地点登录，请重新登录！", SessionLost),
        ("用户未登录", SessionLost),
        ("用户未登陆", SessionLost),
        ("网络繁忙", Busy),
        ("网络可能存在问题，请您重试一下！", Busy),
        ("系统维护中", Unreachable),
        ("没有人听说过的话", Garbled),
        ("", Garbled),
    ],
)
def test_12306s_words_mean_what_the_table_says(text: str, kind: type[UpstreamError]) -> None:
    assert type(failure(text)) is kind
    assert type(pay_step_failure(text)) is kind


@pytest.mark.parametrize(("text", "reason"), [("该订单不允许支付", "pay_refused"), ("没有该订单", "hold_not_found")])
def test_a_pay_step_is_declined_by_an_exact_text_only(text: str, reason: str) -> None:
    declined = pay_step_failure(text)
    assert isinstance(declined, Declined)
    assert declined.reason == reason
    assert isinstance(pay_step_failure(f"{text}！"), Garbled)


@pytest.mark.parametrize("text", ["已完成支付", "已出票", "该订单已支付", "订单已超过支付时间"])
def test_a_text_that_may_mean_paid_is_a_question_and_no_refusal(text: str) -> None:
    assert isinstance(pay_step_failure(text), Busy)
