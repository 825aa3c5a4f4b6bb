"""Is the held order the one that the user paid for? Every thing that must agree, and what may differ."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline.matching import ExpectedOrder, ExpectedPassenger, differs
from pipeline.ports import RailwayOrder, RailwayTicket
from pipeline.reasons import Reason

ID, OTHER_ID = "000000190001010000", "000000190001010001"
ADULT = ExpectedPassenger("张三", "1", ID, "1")
SECOND = ExpectedPassenger("李四", "1", OTHER_ID, "1")
CHILD = ExpectedPassenger("小明", "1", ID, "0")
EXPECTED = ExpectedOrder(
    train_nos=("T7",),
    departs_on=date(2014, 11, 29),
    from_station="北京西",
    to_station="成都",
    passengers=(ADULT,),
    seats=frozenset({"硬卧下", "硬卧上"}),
    fare_fen=42_800,
    stated_fen=41_300,
)


def ticket(
    name: str = "张三", id_no: str = ID, kind: str = "1", seat: str = "硬卧下", fen: int = 41_300, id_type: str = "1"
) -> RailwayTicket:
    return RailwayTicket(name, id_type, id_no, seat, "11", "04号下铺", kind, fen, "i")


def held(*tickets: RailwayTicket, total: int | None = None, **changes: Any) -> RailwayOrder:
    chosen = tickets or (ticket(),)
    order = RailwayOrder(
        hold_no="E646076788",
        train_no="T7",
        departure_at=datetime(2014, 11, 29, 9, 10, tzinfo=UTC),
        from_station="北京西",
        to_station="成都",
        tickets=chosen,
        total_fen=sum(each.price_fen for each in chosen) if total is None else total,
        pay_deadline=None,
    )
    return order._replace(**changes)


def two(first: ExpectedPassenger = ADULT, second: ExpectedPassenger = SECOND) -> ExpectedOrder:
    return EXPECTED._replace(passengers=(first, second), fare_fen=100_000, stated_fen=None)


def reason(found: RailwayOrder, expected: ExpectedOrder = EXPECTED) -> Reason | None:
    mismatch = differs(found, expected)
    return None if mismatch is None else mismatch.reason


def test_the_order_that_was_paid_for_fits() -> None:
    assert differs(held(), EXPECTED) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train_no": "T8"}, "T8"),
        ({"from_station": "北京"}, "北京-成都"),
        ({"to_station": "成都东"}, "北京西-成都东"),
        ({"departure_at": datetime(2014, 11, 30, 9, 10, tzinfo=UTC)}, "2014-11-30"),
    ],
)
def test_another_trip_does_not_fit_and_is_named(changes: dict[str, Any], named: str) -> None:
    mismatch = differs(held(**changes), EXPECTED)
    assert mismatch is not None
    assert mismatch.reason is Reason.ORDER_MISMATCH
    assert named in mismatch.detail


@pytest.mark.parametrize("train", ["G1", "T7", "K10"])
def test_any_of_the_alternative_trains_fits(train: str) -> None:
    assert reason(held(train_no=train), EXPECTED._replace(train_nos=("G1", "T7", "K10"))) is None


@pytest.mark.parametrize(
    ("utc", "fits"),
    [
        (datetime(2014, 11, 28, 15, 59, 59, tzinfo=UTC), False),
        (datetime(2014, 11, 28, 16, 0, tzinfo=UTC), True),
        (datetime(2014, 11, 29, 15, 59, 59, tzinfo=UTC), True),
        (datetime(2014, 11, 29, 16, 0, tzinfo=UTC), False),
    ],
)
def test_the_day_is_the_one_in_shanghai(utc: datetime, fits: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert (differs(held(departure_at=utc), EXPECTED) is None) is fits


@pytest.mark.parametrize(("seat", "fits"), [("硬卧下", True), ("硬卧上", True), ("软卧下", False), ("硬卧", False)])
def test_each_seat_is_the_orders_or_one_of_its_fallbacks(seat: str, fits: bool) -> None:  # noqa: FBT001
    assert (differs(held(ticket(seat=seat)), EXPECTED) is None) is fits


def test_one_foreign_seat_among_two_is_one_too_many() -> None:
    found = held(ticket(), ticket("李四", OTHER_ID, seat="软卧下"))
    assert reason(found, two()) is Reason.ORDER_MISMATCH


@pytest.mark.parametrize("number", [1, 3])
def test_tickets_are_as_many_as_passengers(number: int) -> None:
    assert reason(held(*(ticket() for _ in range(number))), two()) is Reason.ORDER_MISMATCH


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        (ID, True),
        ("0000***********000", True),
        ("0000**************", True),
        ("**************0000", True),
        ("0001***********000", False),
        ("0000***********001", False),
        ("******************", False),
        ("*", False),
        ("", False),
        (OTHER_ID, False),
        (ID + "0", False),
        ("000000190001*90001010000", False),
    ],
)
def test_what_a_masked_id_shows_must_agree_and_show_something(shown: str, fits: bool) -> None:  # noqa: FBT001
    assert (differs(held(ticket(id_no=shown)), EXPECTED) is None) is fits


def test_a_final_x_is_the_same_in_either_case() -> None:
    expected = EXPECTED._replace(passengers=(ADULT._replace(id_no="00000019000101000x"),))
    assert differs(held(ticket(id_no="00000019000101000X")), expected) is None
    assert differs(held(ticket(id_no="0000***********00X")), expected) is None


@pytest.mark.parametrize("changed", [{"name": "王五"}, {"id_no": OTHER_ID}, {"kind": "2"}, {"id_type": "B"}])
def test_another_passenger_does_not_fit(changed: dict[str, str]) -> None:
    assert reason(held(ticket(**changed))) is Reason.ORDER_MISMATCH  # type: ignore[arg-type] # text fields by name


def test_a_child_travels_on_the_adults_id_and_under_the_adults_name() -> None:
    found = held(ticket(), ticket("张三", ID, kind="0"))
    assert differs(found, two(ADULT, CHILD)) is None
    assert differs(held(ticket("张三", ID, kind="0"), ticket()), two(ADULT, CHILD)) is None


def test_two_adults_are_not_an_adult_and_a_child() -> None:
    assert reason(held(ticket(), ticket()), two(ADULT, CHILD)) is Reason.ORDER_MISMATCH


def test_masked_ids_that_fit_two_people_are_paired_one_to_one() -> None:
    twin = ADULT._replace(id_no="000000190001019000")
    wide, narrow = ticket(id_no="0000***********000"), ticket(id_no="000000190001010000")
    assert differs(held(wide, narrow), two(ADULT, twin)) is None
    assert differs(held(narrow, wide), two(twin, ADULT)) is None
    assert reason(held(narrow, narrow), two(ADULT, twin)) is Reason.ORDER_MISMATCH


def test_a_price_that_differs_from_the_stated_one_is_named_with_both() -> None:
    mismatch = differs(held(ticket(fen=41_400)), EXPECTED)
    assert mismatch is not None
    assert mismatch.reason is Reason.PRICE_MISMATCH
    assert "41400" in mismatch.detail
    assert "41300" in mismatch.detail


def test_without_a_stated_price_anything_up_to_the_fare_fits() -> None:
    expected = EXPECTED._replace(stated_fen=None)
    assert reason(held(ticket(fen=42_800)), expected) is None
    assert reason(held(ticket(fen=42_801)), expected) is Reason.FARE_EXCEEDED


def test_a_stated_price_above_the_fare_is_still_too_much() -> None:
    assert reason(held(ticket(fen=50_000)), EXPECTED._replace(stated_fen=50_000)) is Reason.FARE_EXCEEDED


def test_a_total_that_is_not_the_sum_of_its_tickets_is_not_paid() -> None:
    assert reason(held(total=41_299), EXPECTED._replace(stated_fen=41_299)) is Reason.ORDER_MISMATCH


@pytest.mark.parametrize(
    "found",
    [
        held(ticket(id_no=OTHER_ID)),
        held(ticket("王五")),
        held(train_no="X"),
        held(ticket(seat="软卧下")),
        held(total=1),
    ],
)
def test_what_differs_is_told_without_a_name_or_an_id(found: RailwayOrder) -> None:
    mismatch = differs(found, EXPECTED)
    assert mismatch is not None
    assert not any(secret in mismatch.detail for secret in (ID, OTHER_ID, "张三", "王五"))
