"""The order object of QueryOrders: names and types as the three families parse them (wire-protocols A.4)."""

from __future__ import annotations

import json
from typing import Any

from schemas.orders import OrderPaid
from schemas.tts_orders import ORDER_FIELDS, order_object
from tests.unit.message_samples import DATA

STUDENT = {
    "province": "北京",
    "province_code": "11",
    "school_code": "10001",
    "school_name": "一所大学",
    "student_no": "20140001",
    "schooling": "4",
    "intended_time": "2014",
    "discount_section_begin": "北京",
    "discount_section_begin_code": "BJP",
    "discount_section_end": "成都",
    "discount_section_end_code": "CDW",
}


def shown(**changes: Any) -> dict[str, Any]:
    order = OrderPaid.model_validate_json(json.dumps(DATA["order.paid"] | changes))
    return order_object(order)


def test_the_sample_order_is_written_as_the_clients_read_it() -> None:
    order = shown(
        trip="single",
        departure_at="2014-11-29T09:10:00Z",
        arrival_at="2014-11-30T08:00:00Z",
        ordered_at="2014-11-17T12:31:22Z",
        fare_fen=128_450,
        seat={"code": "7", "price_fen": 42_850},
        fallback_seats=[{"code": "5", "price_fen": 40_000}],
    )
    assert order["orderType"] == 0
    assert order["orderDate"] == "2014-11-17 20:31:22"
    assert (order["trainStartTime"], order["trainEndTime"]) == ("2014-11-29 17:10", "2014-11-30 16:00")
    assert (order["seat"], order["extSeat"]) == ({"7": 428.5}, [{"5": 400.0}])
    assert (order["seatMap"], order["extSeatMap"]) == ({"硬卧下": 428.5}, [{"硬卧上": 400.0}])
    assert order["ticketPay"] == 1284.5
    assert order["jointTrip"] == []


def test_every_field_is_there_and_in_the_document() -> None:
    assert set(shown(arrival_at="2014-11-30T08:00:00Z")) == set(ORDER_FIELDS)
    assert set(ORDER_FIELDS) - set(shown()) == {"trainEndTime"}


def test_no_null_is_ever_written() -> None:
    assert "null" not in json.dumps(shown())


def test_a_seat_named_in_words_is_written_under_its_code_too() -> None:
    order = shown(seat={"code": "一等软座", "price_fen": 100}, fallback_seats=[])
    assert (order["seat"], order["seatMap"]) == ({"3": 1.0}, {"一等座": 1.0})


def test_a_seat_without_a_code_is_found_by_its_name() -> None:
    order = shown(seat={"code": "动卧上", "price_fen": 100}, fallback_seats=[{"code": "观光座", "price_fen": 200}])
    assert (order["seat"], order["seatMap"]) == ({}, {"动卧上": 1.0})
    assert (order["extSeat"], order["extSeatMap"]) == ([], [{"观光座": 2.0}])


def test_passengers_and_students() -> None:
    person = {"name": "张三", "id_type": "1", "id_no": "000000190001010000", "ticket_type": "2", "student": STUDENT}
    (passenger,) = shown(passengers=[person])["passengers"]
    assert {name: passenger[name] for name in ("certNo", "certType", "name", "ticketType")} == {
        "certNo": "000000190001010000",
        "certType": "1",
        "name": "张三",
        "ticketType": "2",
    }
    assert passenger["passengerStudentExt"]["discountSectionEndCode"] == "CDW"
    assert len(passenger["passengerStudentExt"]) == 11


def test_a_joint_trip_lists_its_legs() -> None:
    leg = {
        "train_no": "T7",
        "from": "北京西",
        "to": "西安",
        "departure_at": "2014-11-29T09:10:00Z",
        "seat": {"code": "7", "price_fen": 100},
    }
    order = shown(trip="joint", legs=[leg, leg | {"train_no": "K1", "from": "西安", "to": "成都"}])
    assert order["orderType"] == 1
    assert [(one["seq"], one["trainNo"], one["dptStation"]) for one in order["jointTrip"]] == [
        (1, "T7", "北京西"),
        (2, "K1", "西安"),
    ]
    assert {"trainStartTime", "arrStation", "seat", "extSeat"} <= set(order["jointTrip"][0])
