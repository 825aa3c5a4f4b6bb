"""Whatever AM or an agent's program sends is a valid message, or an error that names the field and shows no value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from pipeline.railway.envelope import fen_of_yuan
from pipeline.railway.sandbox.till import yuan
from schemas.am_messages import TYPES, AmMessage, parse, parse_event, parse_many
from schemas.fields import MAX_FEN
from schemas.problems import InvalidMessage
from schemas.tts import PURCHASE_FORMS, GoPayForm, QueryOrdersForm, TtsForm, read
from schemas.tts_fields import fen_of
from schemas.tts_forms import FormError, decode
from tests.unit.message_samples import event
from tests.unit.properties import TEXT, damaged, json_values, repeatable, tried

CANARY = "canary-4711"
KINDS: tuple[type[TtsForm], ...] = (QueryOrdersForm, GoPayForm, *PURCHASE_FORMS.values())


def read_or_refused(body: bytes) -> AmMessage | None:
    message, error = tried(lambda: parse(body), InvalidMessage)
    if error is not None:
        assert error.problems
        assert all(problem.field and problem.reason for problem in error.problems)
        assert CANARY not in str(error)
    return message


def storable(text: str) -> bool:
    """PostgreSQL takes it."""
    return "\0" not in text and text.encode("utf-8", "replace") == text.encode("utf-8", "surrogatepass")


@repeatable(300)
@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b'{"type":"order.paid","data":' + b"[" * 5_000)
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    assert read_or_refused(body) is None


@repeatable(150)
@given(json_values())
def test_any_json_is_a_message_or_refused(value: Any) -> None:
    assert read_or_refused(json.dumps(value).encode()) is None


@repeatable(150)
@given(st.data(), st.sampled_from(TYPES))
def test_a_damaged_message_is_read_whole_or_refused_by_its_field(data: st.DataObject, kind: str) -> None:
    sent = data.draw(damaged(event(kind)))
    message = read_or_refused(json.dumps(sent).encode())
    if message is not None:
        again = parse(parse_event(json.dumps(sent).encode()).model_dump_json(by_alias=True).encode())
        assert again == message
        assert storable(message.data.model_dump_json())
        assert all(storable(text) for text in (message.source, message.id, message.order_no))


@repeatable(100)
@given(st.sampled_from(TYPES), st.sampled_from(["agent", "order_no", "account", "reason", "refund_id", "train_no"]))
def test_no_value_is_quoted_by_a_refusal(kind: str, field: str) -> None:
    sent = event(kind)
    sent["data"] = sent["data"] | {field: [CANARY], CANARY: CANARY}
    read_or_refused(json.dumps(sent).encode())


@repeatable(50)
@given(st.data())
def test_an_array_names_the_place_of_what_is_wrong_in_it(data: st.DataObject) -> None:
    sent = data.draw(st.lists(st.sampled_from(TYPES).map(event) | damaged(event("refund.closed")), max_size=4))
    found, error = tried(lambda: parse_many(json.dumps(sent).encode()), InvalidMessage)
    if error is not None:
        assert all(problem.index is None or problem.index < len(sent) for problem in error.problems)
    else:
        assert found is not None
        assert len(found) == len(sent)


# -- forms ------------------------------------------------------------------------------------------------------

NAMES = sorted({field.alias or name for kind in KINDS for name, field in kind.model_fields.items()} | {"pw"})
GOOD = {
    "merchantCode": "xcslw", "orderNo": "xcslw141117203122003", "HMAC": "A" * 32, "un": "agent_user01", "price": "631.0",
    "type": "WAIT_TICKET", "opt": "NEED_PAY", "reason": "1",
    "result": '{"tickets":[{"ticketNo":"E646076788","price":413.00}]}',
}  # fmt: skip
VALUE = st.one_of(
    TEXT,
    json_values(6).map(json.dumps),
    st.sampled_from(sorted(PURCHASE_FORMS)),
    st.sampled_from(["Infinity", "1e99", "1e-99", "\ud800", '{"tickets":' + "[" * 3_000, '"\\ud800"']),
)


def refused_or_read(raw: bytes) -> None:
    """Reading either works or raises FormError, for every kind of form; its words hold no value."""
    form, error = tried(lambda: decode(raw), FormError)
    assert CANARY not in str(error)
    if form is None:
        return
    for kind in KINDS:
        found, error = tried(lambda kind=kind: read(kind, form), FormError)  # type: ignore[misc] # bound per kind
        assert CANARY not in str(error)
        assert found is None or storable(found.model_dump_json())


@repeatable(300)
@given(st.binary(max_size=120))
@example(b"%")
@example(b"a=%ff&b=%00")
@example(b"&" * 1000)
def test_any_bytes_are_a_form_or_refused(raw: bytes) -> None:
    refused_or_read(raw)


def encoded(text: str, way: str) -> bytes:
    if way == "gbk":
        return text.encode("gbk", "replace")
    if way == "raw":
        return text.encode("utf-8", "surrogatepass")
    return quote(text, safe="", encoding="gbk" if way == "quoted gbk" else "utf-8", errors="replace").encode()


@repeatable(200)
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=4),
    st.sampled_from(["quoted", "quoted gbk", "gbk", "raw"]),
    st.sampled_from(NAMES),
)
def test_a_form_in_any_encoding_is_read_or_refused(changes: dict[str, str], way: str, twice: str) -> None:
    values = GOOD | changes
    pieces = [name.encode() + b"=" + encoded(value, way) for name, value in values.items()]
    refused_or_read(b"&".join(pieces))
    refused_or_read(b"&".join([*pieces, twice.encode() + b"=" + CANARY.encode()]))


# -- amounts ----------------------------------------------------------------------------------------------------


@repeatable(200)
@given(st.integers(0, MAX_FEN))
def test_an_amount_is_the_same_in_yuan_and_back(fen: int) -> None:
    assert fen_of(yuan(fen)) == fen_of(f" {yuan(fen)} ") == fen
    assert fen_of(Decimal(fen) / 100) == fen
    if fen < 10**11:
        assert fen_of_yuan(yuan(fen)) == fen
    if fen < 10**8:  # what a client's double prints
        assert fen_of(fen / 100) == fen


@repeatable(200)
@given(
    st.one_of(TEXT, st.from_regex(r"[0-9]{0,14}\.?[0-9]{0,22}([eE][+-]?[0-9]{0,3})?", fullmatch=True), json_values(3))
)
@example("1e99")
@example("١٢")
def test_what_is_no_amount_is_refused(value: Any) -> None:
    try:
        fen = fen_of(value)
    except PydanticCustomError:
        pass
    else:
        assert 0 <= fen <= MAX_FEN
    if isinstance(value, str):
        try:
            exact = fen_of_yuan(value)
        except ValueError:
            return
        assert Decimal(exact) == Decimal(value) * 100


def test_half_a_fen_is_never_rounded() -> None:
    with pytest.raises(ValueError, match="amount"):
        fen_of_yuan("1.005")
