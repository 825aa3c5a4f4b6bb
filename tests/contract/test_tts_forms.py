"""How the clients really write their requests, and that each is read as it was meant (wire-protocols D, general rules)."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus, urlencode

import pytest

from schemas import tts
from schemas.tts_forms import Form, FormError, decode
from tests.contract.tts_vectors import KEY, MERCHANT, ORDER_NO, PEOPLE, RESULT

CONFIRM = {
    "merchantCode": MERCHANT,
    "orderNo": ORDER_NO,
    "opt": "CONFIRM",
    "result": RESULT,
    "comment": "已经出票成功",
    "HMAC": "0" * 32,
}
JSON_SIGNS = '{}[]:,"'
NEED_PAY = {**CONFIRM, "opt": "NEED_PAY", "un": "agent_user01"}


def encoded(fields: dict[str, str]) -> bytes:
    """l9e: every value percent-encoded."""
    return urlencode(fields).encode()


def raw(fields: dict[str, str]) -> bytes:
    """takit: nothing encoded at all."""
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def half(fields: dict[str, str]) -> bytes:
    """hthy: only the Chinese parts encoded, JSON's punctuation raw."""
    return "&".join(f"{name}={quote(value, safe=JSON_SIGNS)}" for name, value in fields.items()).encode()


@pytest.mark.parametrize("style", [encoded, raw, half])
def test_each_body_style_gives_the_same_texts(style: object) -> None:
    assert callable(style)
    form = decode(style(CONFIRM))
    assert {name: form.get(name) for name in CONFIRM} == CONFIRM


def test_a_value_may_hold_equals_signs() -> None:
    assert decode(b"comment=a=b==c").get("comment") == "a=b==c"


def test_an_encoded_plus_and_ampersand_come_through_and_a_raw_plus_is_a_space() -> None:
    assert decode(f"comment={quote_plus('1+1 & 2')}".encode()).get("comment") == "1+1 & 2"
    assert decode(b"comment=a+b").get("comment") == "a b"


def test_a_missing_and_an_empty_parameter_are_both_an_empty_text() -> None:
    form = decode(b"un=&opt=CONFIRM")
    assert form.get("un") == form.get("reason") == ""


def test_a_percent_sign_that_encodes_nothing_is_itself() -> None:
    assert decode("comment=优惠5%".encode()).get("comment") == "优惠5%"


def test_unknown_parameters_are_ignored() -> None:
    form = decode(raw({**CONFIRM, "version": "2", "extra": "{}"}))
    assert tts.read(tts.ConfirmForm, form).order_no == ORDER_NO


def test_a_parameter_sent_twice_alike_is_one() -> None:
    form = decode(raw(CONFIRM) + f"&orderNo={ORDER_NO}".encode())
    assert tts.read(tts.ConfirmForm, form).order_no == ORDER_NO


def test_a_parameter_sent_twice_differently_is_refused_where_it_is_used() -> None:
    form = decode(raw(CONFIRM) + b"&orderNo=other")
    with pytest.raises(FormError, match="orderNo") as caught:
        tts.read(tts.ConfirmForm, form)
    assert "other" not in str(caught.value)
    assert form.get("opt") == "CONFIRM"


@pytest.mark.parametrize("body", [b"comment=\xff\xfe", b"comment=%FF", b"\xc3\x28=1"])
def test_what_is_no_utf_8_is_refused_without_a_trace_of_it(body: bytes) -> None:
    with pytest.raises(FormError) as caught:
        decode(body)
    assert caught.value.__context__ is None


def test_a_body_of_ampersands_is_refused_before_it_is_taken_apart() -> None:
    with pytest.raises(FormError):
        decode(b"&" * 1_000_000)


def test_a_form_never_shows_a_value() -> None:
    assert "Passw0rd" not in repr(decode(b"pw=Passw0rd"))


@pytest.mark.parametrize(
    ("price", "fen"),
    [
        ("651", 65_100),
        ("651.0", 65_100),
        ("631.0", 63_100),
        ("95.5", 9_550),
        ("95.50", 9_550),
        ("95.550000000000004", 9_555),
        ("1.0E2", 10_000),
        ("0", 0),
    ],
)
def test_a_price_is_read_from_number_and_from_text(price: str, fen: int) -> None:
    for written in (price, json.dumps(price)):
        result = RESULT.replace('"price":651', f'"price":{written}')
        form = decode(raw({**CONFIRM, "result": result}))
        assert tts.read(tts.ConfirmForm, form).tickets[0].price_fen == fen
    go_pay = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "price": price, "un": "u", "HMAC": "x"}
    assert tts.read(tts.GoPayForm, decode(raw(go_pay))).price_fen == fen


@pytest.mark.parametrize(
    "price", ["", "-1", "95.555", "1e99", "NaN", "Infinity", "六百", "0x10", "true", "1 000", "9" * 13]
)
def test_what_is_no_price_is_refused_by_name(price: str) -> None:
    go_pay = {"merchantCode": MERCHANT, "orderNo": ORDER_NO, "price": price, "un": "u", "HMAC": "x"}
    with pytest.raises(FormError, match=r"^price: "):
        tts.read(tts.GoPayForm, decode(raw(go_pay)))


TICKET = {"ticketNo": "e123456789", "seatType": 7, "seatNo": "11车04号下铺", "price": "42.8"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seq": 0, "ticketType": 1},
        {"passengerName": None, "seq": "", "ticketType": None},
        {"seatNo": None},
        {"trainNo": "T7", "depStation": "北京西"},
    ],
)
def test_the_shortest_ticket_of_2013_and_its_later_variants_are_read(changes: dict[str, object]) -> None:
    for count in (1, "1", None):
        result = json.dumps({"count": count, "tickets": [TICKET | changes]}, ensure_ascii=False)
        (ticket,) = tts.read(tts.ConfirmForm, decode(raw({**CONFIRM, "result": result}))).tickets
        assert (ticket.ticket_no, ticket.seat_type, ticket.price_fen) == ("E123456789", "7", 4_280)
        assert (ticket.ticket_type, ticket.seq) == ("1", "0")


def test_the_rush_variant_names_its_seat() -> None:
    ticket = {name: value for name, value in TICKET.items() if name != "seatType"} | {"seatTypeName": "硬卧下"}
    result = json.dumps({"tickets": [ticket]}, ensure_ascii=False)
    (read,) = tts.read(tts.ConfirmForm, decode(raw({**CONFIRM, "result": result}))).tickets
    assert read.seat_type == "硬卧下"


@pytest.mark.parametrize(
    "result",
    ["", "[]", "{", "null", '{"tickets":[]}', '{"tickets":{}}', '{"tickets":[1]}', "[" * 50_000, '{"tickets":[{}]}'],
)
def test_a_confirm_without_readable_tickets_is_refused_by_name(result: str) -> None:
    with pytest.raises(FormError, match=r"^result"):
        tts.read(tts.ConfirmForm, decode(raw({**CONFIRM, "result": result})))


def test_a_long_comment_is_cut_and_control_characters_are_blanks() -> None:
    form = decode(encoded({**CONFIRM, "comment": "\x00出\n票" + "长" * 5_000}))
    comment = tts.read(tts.ConfirmForm, form).comment
    assert comment.startswith("出 票长")
    assert len(comment) == 1_000


def test_a_need_pay_names_its_held_order_and_price_by_its_tickets() -> None:
    form = tts.read(tts.NeedPayForm, decode(raw(NEED_PAY)))
    assert (form.hold_numbers, form.stated_fen) == (("E123456789",), 65_100)
    for empty in ("", "{}", '{"count":0,"tickets":[]}'):
        bare = tts.read(tts.NeedPayForm, decode(raw({**NEED_PAY, "result": empty})))
        assert (bare.hold_numbers, bare.stated_fen) == ((), None)
    named = tts.read(tts.NeedPayForm, decode(raw({**NEED_PAY, "result": '{"tickets":[{"ticketNo":"e646076788"}]}'})))
    assert (named.hold_numbers, named.stated_fen) == (("E646076788",), None)


def test_a_need_pay_for_two_held_orders_is_refused() -> None:
    ticket = json.loads(RESULT)["tickets"][0]
    two = json.dumps({"tickets": [ticket, ticket | {"ticketNo": "E987654321"}]})
    with pytest.raises(FormError, match="more than one"):
        tts.read(tts.NeedPayForm, decode(raw({**NEED_PAY, "result": two})))


def test_a_need_pay_without_its_account_is_refused_by_name() -> None:
    with pytest.raises(FormError, match=r"^un: "):
        tts.read(tts.NeedPayForm, decode(raw({**NEED_PAY, "un": ""})))


@pytest.mark.parametrize("reason", [str(number) for number in range(8)])
def test_each_reason_of_no_ticket_is_read(reason: str) -> None:
    fields = {**CONFIRM, "opt": "NO_TICKET", "result": "", "reason": reason, "passengerReason": PEOPLE}
    form = tts.read(tts.NoTicketForm, decode(raw(fields)))
    assert (form.reason, form.passenger_reason[0].name) == (reason, "张三")


def test_only_reason_six_needs_its_people() -> None:
    fields = {**CONFIRM, "opt": "NO_TICKET", "result": ""}
    for reason in "0123457":
        tts.read(tts.NoTicketForm, decode(raw({**fields, "reason": reason})))
    for people in ("", "[]"):
        with pytest.raises(FormError, match="passengerReason"):
            tts.read(tts.NoTicketForm, decode(raw({**fields, "reason": "6", "passengerReason": people})))


@pytest.mark.parametrize("reason", ["", "8", "-1", "其他"])
def test_an_unknown_reason_is_refused_by_name(reason: str) -> None:
    fields = {**CONFIRM, "opt": "NO_TICKET", "result": "", "reason": reason}
    with pytest.raises(FormError, match=r"^reason: "):
        tts.read(tts.NoTicketForm, decode(raw(fields)))


def test_no_error_of_a_form_holds_what_was_sent() -> None:
    fields = {**CONFIRM, "orderNo": "../etc/passwd", "HMAC": "h" * 32}
    with pytest.raises(FormError) as caught:
        tts.read(tts.ConfirmForm, decode(raw(fields)))
    assert "passwd" not in f"{caught.value!r} {caught.value.__context__!r} {caught.value.__cause__!r}"
    assert KEY not in str(caught.value)


def test_the_text_of_a_form_is_only_what_was_asked_for() -> None:
    assert Form([("a", "1"), ("a", "1")]).get("a") == "1"
