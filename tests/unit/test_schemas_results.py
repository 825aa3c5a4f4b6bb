"""Result events, wake-up calls and dead-letter messages: what daifu writes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.dead_letter import MAX_DEAD_LETTER_BYTES, DeadLetter, parse_dead_letter
from schemas.orders import Ticket
from schemas.problems import InvalidMessage
from schemas.results import RESULT_TYPES, Result, ResultEvent, ResultType, Told, result_bytes
from schemas.wakeup import MAX_KEYS, MAX_WAKEUP_BYTES, parse_wakeup, wakeup

AT = datetime(2014, 11, 17, 13, 2, tzinfo=UTC)
TICKET = Ticket(ticket_no="E646076788", seat_type="7", seat_no="11车04号下铺", price_fen=41300).model_dump()
SETTLED: Told = {
    "order_no": "demo1",
    "agent": "demo",
    "generation": 2,
    "held_order_no": "E646076788",
    "state": "settled",
    "outcome": "purchased",
    "reason": None,
    "err_code": None,
    "paid_fen": 124100,
    "unfrozen_fen": 124100,
    "partial_refund_fen": 4300,
    "tickets": (TICKET,),
    "seq": 3,
    "at": AT,
}
UNPAID: Told = {**SETTLED, "held_order_no": None, "tickets": (), "paid_fen": None, "reason": "captcha_required"}


@pytest.mark.parametrize("kind", RESULT_TYPES)
def test_a_result_is_a_cloudevent_named_by_order_generation_and_type(kind: ResultType) -> None:
    told = json.loads(result_bytes(kind, SETTLED))
    assert told["id"] == f"demo1:2:{kind}"
    assert (told["specversion"], told["source"], told["type"], told["subject"]) == ("1.0", "daifu", kind, "demo1")
    assert told["time"] == told["data"]["at"] == "2014-11-17T13:02:00Z"


def test_a_result_has_every_field_that_was_promised() -> None:
    promised = (
        "order_no agent generation held_order_no state outcome reason err_code "
        "paid_fen unfrozen_fen partial_refund_fen tickets seq at"
    )
    assert list(json.loads(result_bytes("purchase.refused", UNPAID))["data"]) == promised.split()
    assert list(Result.model_fields) == list(Told.__annotations__) == promised.split()


@pytest.mark.parametrize("kind", RESULT_TYPES)
@pytest.mark.parametrize("told", [SETTLED, UNPAID])
def test_a_result_is_written_as_its_event_would_be(kind: ResultType, told: Told) -> None:
    body = result_bytes(kind, told)
    event = ResultEvent.model_validate_json(body)
    assert event.data == Result.model_validate(told)
    assert body == event.model_dump_json().encode()


@pytest.mark.parametrize("wrong", [{"paid_fen": 1.0}, {"seq": 0}, {"generation": -1}, {"state": "lost"}])
def test_a_result_that_breaks_the_contract_is_not_read(wrong: dict[str, Any]) -> None:
    told: Any = {**SETTLED, **wrong}
    with pytest.raises(ValidationError):
        ResultEvent.model_validate_json(result_bytes("purchase.settled", told))


@pytest.mark.parametrize("key", ["xcslw141117203122003:1:payment", "demo1:0:intake", "a.b-c_d:12:question.3"])
def test_a_wake_up_call_carries_its_key(key: str) -> None:
    assert json.loads(wakeup(key)) == {"key": key}
    assert parse_wakeup(wakeup(key)) == (key,)


def test_a_wake_up_call_of_many_rows_names_the_first_where_readers_of_one_look() -> None:
    keys = [f"{'o' * 64}:999999999:{'s' * 61}{n:03d}" for n in range(MAX_KEYS)]  # no key is longer
    body = wakeup(*keys)
    assert json.loads(body) == {"key": keys[0], "more": keys[1:]}
    assert len(body) <= MAX_WAKEUP_BYTES
    assert parse_wakeup(body) == tuple(keys)


@pytest.mark.parametrize("more", [["demo1"], [1], ["demo1:1:pay"] * MAX_KEYS])
def test_a_wake_up_call_of_what_is_no_key_or_of_too_many_is_refused(more: list[Any]) -> None:
    with pytest.raises(InvalidMessage, match="more"):
        wakeup("demo1:1:pay", *more)
    with pytest.raises(InvalidMessage, match="more"):
        parse_wakeup(json.dumps({"key": "demo1:1:pay", "more": more}).encode())


@pytest.mark.parametrize(
    "key", ["", "demo1", "demo1:1", "demo1:one:payment", "demo1:1:pay ment", ":1:payment", "a:1:b:c"]
)
def test_what_is_no_key_wakes_nobody(key: str) -> None:
    with pytest.raises(InvalidMessage, match="key: "):
        wakeup(key)
    with pytest.raises(InvalidMessage, match="key: "):
        parse_wakeup(json.dumps({"key": key}).encode())


@pytest.mark.parametrize("sent", [b"", b"[]", b"null", b"\xff", b"{}", b'{"key":1}', b" " * (MAX_WAKEUP_BYTES + 1)])
def test_bytes_that_are_no_wake_up_call_are_refused(sent: bytes) -> None:
    with pytest.raises(InvalidMessage, match=r"^(body|key): "):
        parse_wakeup(sent)


def test_a_dead_letter_is_read_back_the_same() -> None:
    letter = DeadLetter(
        id="17",
        stage="payment",
        order_no="demo1",
        generation=1,
        reason="wrong_password",
        detail="12306密码错误",
        body_sealed=None,
        digest=None,
        at=AT,
    )
    assert parse_dead_letter(letter.to_bytes()) == letter
    assert list(json.loads(letter.to_bytes())) == (
        ["id", "stage", "order_no", "generation", "reason", "detail", "body_sealed", "digest", "at"]
    )


def test_a_dead_letter_without_an_order_carries_the_sealed_body_and_its_digest() -> None:
    letter = DeadLetter(
        id="poison-1",
        stage="intake",
        order_no=None,
        generation=None,
        reason="poison",
        detail="data.fare_fen: is required",
        body_sealed="k1." + "A" * 64,
        digest="0" * 64,
        at=AT,
    )
    assert parse_dead_letter(letter.to_bytes()) == letter
    assert "AAAA" not in repr(letter)


@pytest.mark.parametrize("sent", [b"", b"{}", b" " * (MAX_DEAD_LETTER_BYTES + 1)])
def test_bytes_that_are_no_dead_letter_are_refused(sent: bytes) -> None:
    with pytest.raises(InvalidMessage):
        parse_dead_letter(sent)
