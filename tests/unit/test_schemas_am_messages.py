"""Reading what AM sends: what is taken, what is refused, and in which words."""

from __future__ import annotations

import json
import pickle
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.am_messages import MAX_BODY_BYTES, MAX_MESSAGES, TYPES, NeedPay, parse, parse_event, parse_many
from schemas.orders import OrderPaid
from schemas.problems import InvalidMessage, Problem
from tests.unit.message_samples import DATA, NEED_PAY, ORDER, ORDER_NO, TICKET, body, event

CANARY = "canary-4711"


def refusal(sent: bytes) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        parse(sent)
    return caught.value


def field_refused(sent: bytes) -> str:
    (problem,) = refusal(sent).problems
    return problem.field


def test_the_samples_cover_every_message() -> None:
    assert set(DATA) == set(TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_every_message_is_read_and_written_back_the_same(kind: str) -> None:
    message = parse(body(kind))
    assert (message.source, message.id, message.type, message.order_no) == ("am", "0001", kind, ORDER_NO)
    assert message.time == datetime(2014, 11, 17, 12, 31, 22, tzinfo=UTC)
    assert parse(parse_event(body(kind)).to_bytes()) == message


@pytest.mark.parametrize("kind", TYPES)
def test_added_fields_break_nothing(kind: str) -> None:
    more = body(kind, DATA[kind] | {"new": {"deep": [1.5]}}, tracestate="a=1", dataschema="x")
    assert parse(more) == parse(body(kind))


@pytest.mark.parametrize("kind", TYPES)
def test_a_trace_is_kept_and_what_is_none_costs_nobody_the_message(kind: str) -> None:
    traced = parse_event(body(kind, traceparent="00-1"))
    assert parse(traced.to_bytes()).traceparent == traced.traceparent == "00-1"
    untraced = parse_event(body(kind, traceparent={"a": 1}))
    assert (untraced.traceparent, b"traceparent" in untraced.to_bytes()) == (None, False)


@pytest.mark.parametrize("kind", TYPES)
def test_a_message_can_not_be_changed(kind: str) -> None:
    message = parse(body(kind))
    with pytest.raises(ValueError, match="frozen"):
        setattr(message.data, "order_no", "other")  # noqa: B010 - the type checker forbids it already


@pytest.mark.parametrize("amount", [-1, 1.0, 128400.0, 1e3, "128400", "", True, False, None, [1], 10**11, 10**30])
def test_an_amount_is_a_whole_number_of_fen_and_nothing_else(amount: Any) -> None:
    assert field_refused(body("order.paid", ORDER | {"fare_fen": amount})) == "data.fare_fen"


@given(amount=st.floats() | st.integers(max_value=-1) | st.text() | st.booleans())
def test_no_other_amount_gets_through(amount: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"data\.price_fen|body"):  # json writes NaN, which is no JSON
        parse(body("purchase.need_pay", NEED_PAY | {"price_fen": amount}))


def test_a_deep_field_is_named_by_its_path() -> None:
    seat = {"code": "5", "price_fen": -2}
    assert field_refused(body("order.paid", ORDER | {"fallback_seats": [ORDER["seat"], seat]})) == (
        "data.fallback_seats[1].price_fen"
    )


def test_all_problems_are_told_at_once() -> None:
    broken = {name: value for name, value in ORDER.items() if name != "to"} | {"fare_fen": -1, "trip": "round"}
    error = refusal(body("order.paid", broken))
    assert {problem.field for problem in error.problems} == {"data.trip", "data.to", "data.fare_fen"}
    assert "data.to: is required" in str(error)


@pytest.mark.parametrize("name", ["id", "source", "type", "time", "data"])
def test_an_event_is_nothing_without(name: str) -> None:
    rest = {key: value for key, value in event("order.paid").items() if key not in {name, "subject"}}
    assert refusal(json.dumps(rest).encode()).problems == (Problem(name, "is required"),)


def test_specversion_and_subject_and_content_type_may_be_left_out() -> None:
    assert parse(body("order.paid", specversion=None, subject=None, datacontenttype=None)).order_no == ORDER_NO


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("specversion", "0.3"),
        ("subject", "other"),
        ("time", "2014-11-17T20:31:22"),
        ("time", 1416227482),
        ("time", "0001-01-01T00:00:00+08:00"),
        ("time", "9999-12-31T23:59:59-08:00"),
        ("time", "yesterday"),
        ("type", "order.lost"),
        ("type", 7),
        ("datacontenttype", "text/xml"),
        ("id", ""),
        ("id", "x" * 257),
        ("id", "a\x00b"),
        ("source", 1),
    ],
)
def test_an_attribute_is_refused_by_name(attribute: str, value: Any) -> None:
    assert field_refused(body("order.paid", **{attribute: value})) == attribute


@pytest.mark.parametrize("offset", ["+08:00", "Z", "-03:30"])
def test_times_are_utc_once_read(offset: str) -> None:
    message = parse(body("order.paid", time=f"2014-11-17T20:31:22{offset}"))
    assert message.time.tzinfo is UTC


def test_a_joint_trip_is_a_valid_order() -> None:
    data = parse(body("order.paid", ORDER | {"trip": "joint"})).data
    assert isinstance(data, OrderPaid)
    assert data.trip == "joint"


def test_an_order_may_come_without_what_is_only_shown() -> None:
    shown = {"fallback_seats", "contact", "insurance_fen", "insurance_no", "appointment", "source"}
    data = parse(body("order.paid", {name: value for name, value in ORDER.items() if name not in shown})).data
    assert isinstance(data, OrderPaid)
    assert (data.fallback_seats, data.insurance_fen, data.contact) == ((), 0, None)


@pytest.mark.parametrize("raw", ["E646076788", " e646076788 ", "\te646076788\n"])
def test_a_hold_number_is_stripped_and_upper_cased(raw: str) -> None:
    data = parse(body("purchase.need_pay", NEED_PAY | {"held_order_no": raw, "tickets": []})).data
    assert isinstance(data, NeedPay)
    assert data.held_order_no == "E646076788"
    assert data.hold_numbers == ("E646076788",)


@pytest.mark.parametrize("raw", ["", "   ", "E-1", "E 1", "占座", "E" * 33, "ｅ１", 646076788, "ß"])
def test_what_is_no_hold_number_is_refused(raw: Any) -> None:
    assert field_refused(body("purchase.need_pay", NEED_PAY | {"held_order_no": raw})) == "data.held_order_no"


def test_a_need_pay_that_names_no_hold_leaves_it_to_the_look() -> None:
    data = parse(body("purchase.need_pay", {"order_no": ORDER_NO, "agent": "xcslw", "account": "u"})).data
    assert isinstance(data, NeedPay)
    assert data.hold_numbers == ()


def test_a_need_pay_tells_all_the_holds_it_names() -> None:
    tickets = [TICKET, TICKET | {"ticket_no": "e111111111"}]
    data = parse(body("purchase.need_pay", NEED_PAY | {"tickets": tickets})).data
    assert isinstance(data, NeedPay)
    assert data.hold_numbers == ("E111111111", "E646076788")


def test_a_need_pay_may_bring_its_order() -> None:
    data = parse(body("purchase.need_pay", NEED_PAY | {"order": ORDER})).data
    assert isinstance(data, NeedPay)
    assert data.order == parse(body("order.paid")).data


@pytest.mark.parametrize("name", ["order_no", "agent"])
def test_the_order_inside_must_be_the_requests_own(name: str) -> None:
    error = refusal(body("purchase.need_pay", NEED_PAY | {"order": ORDER | {name: "another"}}))
    assert error.problems == (Problem("data.order", f"{name} differs from the request's"),)


@pytest.mark.parametrize("password", [CANARY, f"k1.{CANARY}", f"{CANARY}.{'A' * 10}", "", {"pw": CANARY}])
def test_a_password_that_is_not_sealed_is_refused_and_never_repeated(password: Any) -> None:
    with pytest.raises(InvalidMessage) as caught:
        parse(body("purchase.need_pay", NEED_PAY | {"password_sealed": password}))
    assert "data.password_sealed" in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", TYPES)
def test_no_value_is_ever_in_a_refusal(kind: str) -> None:
    broken = {name: {CANARY: CANARY} for name in DATA[kind]}
    for sent in (body(kind, broken), body(kind, DATA[kind], type=CANARY), body(kind, DATA[kind], time=CANARY)):
        assert CANARY not in str(refusal(sent))
        assert CANARY not in repr(refusal(sent))


def test_ids_and_sealed_passwords_are_not_in_a_repr() -> None:
    shown = repr(parse(body("purchase.need_pay", NEED_PAY | {"order": ORDER})))
    for hidden in ("000000190001010000", "00000000000", "AAAAAAAA"):
        assert hidden not in shown


@pytest.mark.parametrize("reason", ["0", "7", 3])
def test_a_no_ticket_reason_is_one_of_eight(reason: Any) -> None:
    assert parse(body("purchase.no_ticket", DATA["purchase.no_ticket"] | {"reason": reason})).data


@pytest.mark.parametrize("reason", ["8", "", -1, 8, True, None, 1.0])
def test_another_no_ticket_reason_is_refused(reason: Any) -> None:
    assert field_refused(body("purchase.no_ticket", DATA["purchase.no_ticket"] | {"reason": reason})) == "data.reason"


def test_a_code_may_come_as_a_number() -> None:
    ticket = TICKET | {"seat_type": 7, "ticket_type": 1, "seq": 0}
    assert (
        parse(body("purchase.need_pay", NEED_PAY | {"tickets": [ticket]})).data == parse(body("purchase.need_pay")).data
    )


@pytest.mark.parametrize("granted", ["true", 1, None])
def test_granted_is_a_real_bool(granted: Any) -> None:
    assert field_refused(body("refund.closed", DATA["refund.closed"] | {"granted": granted})) == "data.granted"


def test_a_refund_of_nothing_is_refused() -> None:
    assert field_refused(body("refund.arrived", DATA["refund.arrived"] | {"amount_fen": 0})) == "data.amount_fen"


@pytest.mark.parametrize("text", ["a\u0000b", "a\u001bb", "x" * 129])
def test_a_text_that_no_database_or_screen_should_see_is_refused(text: str) -> None:
    assert field_refused(body("order.paid", ORDER | {"train_no": text})) == "data.train_no"


@pytest.mark.parametrize("number", ["", "a:b", "a b", "../x", "x" * 65, 7])
def test_what_is_no_order_number_is_refused(number: Any) -> None:
    sent = body("refund.requested", DATA["refund.requested"] | {"order_no": number}, subject=None)
    assert field_refused(sent) == "data.order_no"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"x",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff\xfe{",
        b"\x00",
        b"[" * 5000,
        b'{"a":' * 5000,
        b'{"id":"\\ud800"}',
    ],
)
def test_bytes_that_are_no_message_are_refused_as_body(sent: bytes) -> None:
    assert field_refused(sent) == "body"


@given(sent=st.binary(max_size=200))
def test_no_bytes_get_anything_but_a_refusal_out_of_the_reader(sent: bytes) -> None:
    with pytest.raises(InvalidMessage):
        parse(sent)


def test_a_body_over_the_limit_is_refused_unread() -> None:
    sent = body("order.paid")
    assert parse(sent + b" " * (MAX_BODY_BYTES - len(sent))).order_no == ORDER_NO
    assert field_refused(sent + b" " * (MAX_BODY_BYTES + 1 - len(sent))) == "body"


def test_an_array_is_read_in_its_order_and_a_single_message_as_one() -> None:
    sent = json.dumps([event(kind) for kind in TYPES]).encode()
    assert [message.type for message in parse_many(b" \n" + sent)] == list(TYPES)
    assert parse_many(body("order.paid")) == [parse(body("order.paid"))]
    assert parse_many(b"[]") == []


def test_a_bad_message_in_an_array_is_named_by_its_index() -> None:
    bad = event("refund.closed", DATA["refund.closed"] | {"granted": 1})
    with pytest.raises(InvalidMessage) as caught:
        parse_many(json.dumps([event("order.paid"), bad, 7, {"type": CANARY}]).encode())
    found = [(problem.index, problem.field) for problem in caught.value.problems]
    assert found == [(1, "data.granted"), (2, "body"), (3, "type")]
    assert str(caught.value).startswith("message 1: data.granted: ")


def test_an_array_has_at_most_a_thousand_messages() -> None:
    one = event("refund.requested")
    assert len(parse_many(json.dumps([one] * MAX_MESSAGES).encode())) == MAX_MESSAGES
    with pytest.raises(InvalidMessage, match=r"body: .*1000"):
        parse_many(json.dumps([one] * (MAX_MESSAGES + 1)).encode())


def test_a_refusal_survives_a_process_border() -> None:
    error = refusal(body("order.paid", ORDER | {"fare_fen": -1}))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), again.problems) == (str(error), error.problems)
