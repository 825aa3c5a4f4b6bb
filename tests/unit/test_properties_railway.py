"""Whatever 12306 or the cashier answers is read, or Garbled; whatever a box or a key ring's file holds opens, or is refused."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from yarl import URL

from pipeline.errors import Garbled, UpstreamError
from pipeline.ports import PaymentForm, RailwayOrder
from pipeline.railway.envelope import COMPACT, MINUTE, moment, read_envelope
from pipeline.railway.orders import merge, read_order
from pipeline.railway.pages import decode, hidden_value, read_forms, read_verdict
from pipeline.railway.safe_xml import read_xml
from pipeline.railway.tran_data import TranData, read_payment_form, read_tran_data
from pipeline.railway.wire_texts import LOGIN_REFUSED, failure, login_failure, pay_step_failure
from pipeline.secret import Secret
from pipeline.vault import KeyRing, VaultError
from tests.unit.properties import TEXT, damaged, json_values, repeatable

GATEWAY = URL("http://cashier.example/pay/pay.htm")
TICKET: dict[str, Any] = {
    "passengerDTO": {"passenger_name": "张三", "passenger_id_type_code": "1", "passenger_id_no": "1234***********234"},
    "ticket_type_code": "1", "seat_type_name": "硬卧", "seat_name": "04号下铺", "coach_no": "11",
    "ticket_price": 41300.0, "ticket_status_code": "i", "pay_limit_time": "2014-11-17 21:01:22",
}  # fmt: skip
ROW: dict[str, Any] = {
    "sequence_no": "E646076788", "train_code_page": "T7", "start_train_date_page": "2014-11-29 17:10",
    "from_station_name_page": ["北京西"], "to_station_name_page": ["成都"], "tickets": [TICKET],
    "ticket_price_all": 41300.0, "ticket_total_price_page": "413.0",
}  # fmt: skip


def upstream(read: Callable[[], Any]) -> Any:
    """What was read, or None for what is Garbled; nothing else may be raised."""
    with contextlib.suppress(UpstreamError):
        return read()
    return None


@repeatable(150)
@given(st.binary(max_size=120) | json_values().map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"status":true,"messages":[' + b"[" * 700 + b"]" * 700 + b"]}")
@example(b'{"status":true,"data":' + b"9" * 5_000 + b"}")
def test_any_answer_is_an_envelope_or_garbled(body: bytes) -> None:
    found = upstream(lambda: read_envelope(body))
    assert found is None or isinstance(found.text, str)


@repeatable(150)
@given(damaged(ROW, 4))
@example(ROW | {"start_train_date_page": "0001-01-01 00:00"})
@example(ROW | {"tickets": [TICKET | {"pay_limit_time": "0001-01-01 00:00:00"}]})
def test_any_row_is_an_order_or_garbled(row: Any) -> None:
    assume(isinstance(row, dict))
    read_back = json.loads(json.dumps(row))  # as it comes over the wire
    found = upstream(lambda: read_order(read_back))
    if found is not None:
        assert isinstance(found, RailwayOrder)
        assert found.total_fen >= 0
        assert all(ticket.price_fen >= 0 for ticket in found.tickets)
        assert merge([found, found]) == merge([found])


@repeatable(200)
@given(st.text(alphabet="0123456789-: T", max_size=20), st.sampled_from([COMPACT, MINUTE]))
@example("00010101000000", COMPACT)
@example("0001-01-01 00:00", MINUTE)
def test_any_time_is_one_or_a_value_error(text: str, form: str) -> None:
    with contextlib.suppress(ValueError):
        assert moment(text, form).tzinfo is not None


PIECES = st.sampled_from([
    "<form action='http://cashier.example/pay/pay.htm' method='post'>", "</form>", "<input type=hidden name=a value=1>",
    "<input type='hidden' name='ord_amt' value='413.00'>", "<div id='result' data-code='1'>", "</div>", "<![", "<!--", "&#x;",
    "&#99999999999;", "&#" + "9" * 5_000 + ";", "<script>", "\0", "交易失败", "<input type=hidden name=ord_pmt_timeout value=00010101000000>",
])  # fmt: skip
PAGE = st.lists(PIECES | TEXT, max_size=8).map("".join)


@repeatable(200)
@given(PAGE)
def test_any_page_is_read_or_a_value_error(page: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(isinstance(form.action, str) for form in read_forms(page))
    with contextlib.suppress(ValueError):
        assert isinstance(hidden_value(page, "a"), str)
    verdict = read_verdict(page)
    assert verdict is None or isinstance(verdict.text, str)
    owed = TranData("3E6460767881", 41_300, datetime.fromisoformat("2014-11-17T21:01:22+08:00"))
    form = upstream(lambda: read_payment_form(page, "E646076788", owed, GATEWAY))
    assert form is None or isinstance(form, PaymentForm)


@repeatable(200)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_page_or_garbled(body: bytes) -> None:
    upstream(lambda: decode("railway", body))


XML = st.lists(
    st.sampled_from([
        "<?xml version='1.0' encoding='GBK'?>", "<?xml version='1.0' encoding='none-such'?>", "<!DOCTYPE a>", "<PayReq>",
        "</PayReq>", "<amount>41300</amount>", "<amount>１</amount>", "<orderId>3E6460767881</orderId>",
        "<orderTimeoutDate>20141117210122</orderTimeoutDate>", "<orderTimeoutDate>00010101000000</orderTimeoutDate>", "&x;",
    ]) | TEXT,
    max_size=7,
).map("".join)  # fmt: skip
OWED = "<PayReq><amount>41300</amount><orderId>3E6460767881</orderId><orderTimeoutDate>{}</orderTimeoutDate></PayReq>"


@repeatable(200)
@given(XML.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=80))
@example(OWED.format("20141117210122").encode())
@example(OWED.format("00010101000000").encode())
def test_any_document_is_tran_data_or_garbled(document: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_xml(document)
    packed = base64.b64encode(document).decode()
    found = upstream(lambda: read_tran_data({"tranData": packed}))
    assert found is None or found.amount_fen >= 0
    with pytest.raises(Garbled):
        read_tran_data({"tranData": packed + "!"})


@repeatable(200)
@given(TEXT | st.sampled_from([words for words, _reason in LOGIN_REFUSED]).flatmap(lambda w: TEXT.map(lambda t: w + t)))
def test_any_text_of_12306_is_one_of_our_errors(text: str) -> None:
    for judge in (failure, login_failure, pay_step_failure):
        assert isinstance(judge(text), UpstreamError)


# -- boxes ------------------------------------------------------------------------------------------------------

RING = KeyRing.generate()


@repeatable(150)
@given(st.text(max_size=40) | st.binary(max_size=40))
@example("\ud800")
@example("")
def test_what_was_sealed_opens_and_nothing_else_does(content: str | bytes) -> None:
    sealed = RING.seal(content)
    assert RING.open(sealed) == Secret(content)
    assert RING.rotate().open(sealed) == Secret(content)
    with pytest.raises(VaultError):
        KeyRing.generate().open(sealed)


@repeatable(300)
@given(st.text(max_size=60), st.integers(0, 120), st.characters())
def test_a_damaged_box_is_refused(text: str, place: int, letter: str) -> None:
    box = RING.seal("not a real password")
    changed = box[: place % len(box)] + letter + box[place % len(box) + 1 :]
    for wrong in (text, f"{RING.key_ids[0]}.{text}", changed):
        if wrong != box:
            with pytest.raises(VaultError):
                RING.open(wrong)


@repeatable(150)
@given(
    st.binary(max_size=60)
    | damaged({"version": 1, "keys": [{"key_id": "k", "private_key": "A" * 43}]}).map(lambda v: json.dumps(v).encode())
)
@example(b'{"keys": [{"key_id": "k", "private_key": 1}]}')
@example(b"[" * 100_000)
def test_a_file_that_is_no_key_ring_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ring.json"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with contextlib.suppress(VaultError):
        assert KeyRing.load(path).key_ids
