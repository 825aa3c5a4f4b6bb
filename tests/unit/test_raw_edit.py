"""Mending a message that could not be read: what is masked, what may change, and that the rest stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.operations import Refused
from pipeline.operations_raw_edit import edited, masked_text
from tests.unit.message_samples import DATA, NEED_PAY, ORDER, event

SEALED = "k1." + "B" * 80
PHONE, ID_NO = "13800001234", "110101199001010010"


def order(**changes: Any) -> dict[str, Any]:
    """An order.paid whose passenger has an ID number and whose contact has a phone."""
    passengers = [{"name": "张三", "id_type": "1", "id_no": ID_NO, "ticket_type": "1"}]
    contact = {"name": "张三", "phone": PHONE, "email": "zhang@example.com"}
    return event("order.paid", ORDER | {"passengers": passengers, "contact": contact} | changes)


def bytes_of(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()


def shown(message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(masked_text(bytes_of(message)))
    return found


def mended(message: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(edited(bytes_of(message), json.dumps(text)).body)
    return found


def test_secrets_and_personal_numbers_are_masked_wherever_they_are() -> None:
    message = order(remark=PHONE, pwd="in clear", extra={"certificate": ID_NO}) | {"x": SEALED}
    message["data"]["password_sealed"] = SEALED
    text = masked_text(bytes_of(message))
    for secret in (PHONE, ID_NO, "in clear", "zhang@example.com"):
        assert secret not in text
    assert (shown(message)["data"]["password_sealed"], shown(message)["data"]["contact"]["phone"]) == (
        "***",
        "138****1234",
    )
    assert message["data"]["order_no"] in text


@pytest.mark.parametrize(
    "body",
    [
        b'{"password_sealed": "k1.AAAA", "phone": 13800001234',
        b"un=user&pw=in-clear&tel=13800001234",
        "密码=短; password: in-clear 13800001234".encode(),
        b"\xff\xfe\x00pw=in-clear",
    ],
)
def test_what_is_no_json_is_masked_as_far_as_it_is_shown(body: bytes) -> None:
    text = masked_text(body)
    assert not any(secret in text for secret in ("k1.AAAA", "in-clear", "13800001234"))
    with pytest.raises(Refused, match="not_json"):
        edited(body, "{}")


def test_what_is_changed_changes_and_what_is_masked_stays_as_it_was() -> None:
    message = order(trip="simple")
    text = shown(message)
    text["data"]["trip"] = "single"
    whole = mended(message, text)
    assert whole["data"]["trip"] == "single"
    assert whole["data"]["contact"]["phone"] == PHONE
    assert whole["data"]["passengers"][0]["id_no"] == ID_NO
    assert edited(bytes_of(message), json.dumps(text)).changes == {"data.trip": {"before": "simple", "after": "single"}}


def test_a_masked_number_can_be_replaced_and_the_difference_stays_masked() -> None:
    message = order()
    text = shown(message)
    text["data"]["passengers"][0]["id_no"] = "110101199001010029"
    edit = edited(bytes_of(message), json.dumps(text))
    assert json.loads(edit.body)["data"]["passengers"][0]["id_no"] == "110101199001010029"
    assert edit.changes == {"data.passengers[0].id_no": {"before": "110****0010", "after": "110****0029"}}
    assert "110101199001010029" not in repr(edit)


def test_a_mask_at_another_place_is_no_value() -> None:
    message = order()
    text = shown(message)
    text["data"]["passengers"] += text["data"]["passengers"]
    with pytest.raises(Refused, match="masked"):
        edited(bytes_of(message), json.dumps(text))


FIXED = [
    (("data", "order_no"), "xcslw141117203122004"),
    (("subject",), "xcslw141117203122004"),
    (("data", "agent"), "other"),
    (("data", "account"), "agent_user02"),
    (("data", "held_order_no"), "E000000001"),
    (("data", "price_fen"), 1),
    (("data", "price_fen"), 124100.0),
    (("data", "tickets", 0, "ticket_no"), "E000000001"),
    (("data", "tickets", 0, "price_fen"), 1),
    (("data", "password_sealed"), SEALED),
    (("data", "fare_fen"), 1),
    (("data", "order"), ORDER),
    (("id",), "0002"),
    (("source",), "somebody"),
    (("type",), "purchase.confirmed"),
    (("time",), "2014-11-17T23:59:59+08:00"),
]


@pytest.mark.parametrize(("path", "value"), FIXED, ids=str)
def test_whose_it_is_what_it_is_about_and_amounts_can_not_be_changed(path: tuple[Any, ...], value: Any) -> None:
    message = event("purchase.need_pay", NEED_PAY)
    text = shown(message)
    here: Any = text
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    with pytest.raises(Refused, match="fixed_field"):
        edited(bytes_of(message), json.dumps(text))


def test_a_fixed_field_can_not_be_left_out_either() -> None:
    message = event("refund.arrived", DATA["refund.arrived"])
    text = shown(message)
    del text["data"]["amount_fen"]
    with pytest.raises(Refused, match="fixed_field"):
        edited(bytes_of(message), json.dumps(text))


def test_a_time_that_nobody_can_read_may_be_mended() -> None:
    message = event("purchase.need_pay", NEED_PAY) | {"time": "17.11.2014"}
    text = shown(message) | {"time": "2014-11-17T20:31:22+08:00"}
    assert mended(message, text)["time"] == "2014-11-17T20:31:22+08:00"


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": 1, "a": 2}', "NaN", "[" * 100_000])
def test_a_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="not_json"):
        edited(bytes_of(order()), text)


def test_nothing_changed_is_no_edit() -> None:
    message = order()
    with pytest.raises(Refused, match="unchanged"):
        edited(bytes_of(message), masked_text(bytes_of(message)))
