"""`schemas/json/` is what other people build on: it is up to date, and no change in it breaks them."""

from __future__ import annotations

import json

import pytest

from schemas.am_messages import TYPES
from schemas.compatibility import breaks
from schemas.export import COMMITTED, Described, described, render

MESSAGES = {message.name: message for message in described()}

PROMISED = {  # INTERFACES section 3, "Messages from AM"
    "order.paid": "order_no agent trip train_no from to departure_at seat fallback_seats passengers contact fare_fen "
    "insurance_fen insurance_no appointment source ordered_at paid_at",
    "purchase.need_pay": "order_no agent account password_sealed held_order_no price_fen tickets order",
    "purchase.confirmed": "order_no agent account tickets",
    "purchase.no_ticket": "order_no agent reason comment",
    "refund.requested": "order_no agent requested_at",
    "refund.closed": "order_no agent granted",
    "refund.arrived": "order_no agent refund_id amount_fen",
    "purchase.result": "order_no agent generation held_order_no state outcome reason err_code paid_fen unfrozen_fen "
    "partial_refund_fen tickets seq at",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_committed_schema_is_up_to_date(name: str) -> None:
    message = MESSAGES[name]
    committed = (COMMITTED / message.file_name).read_text("utf-8")
    assert committed == render(message.schema()), "run `daifu schemas export schemas/json` and commit the result"


@pytest.mark.parametrize("name", MESSAGES)
def test_the_message_still_understands_its_committed_schema(name: str) -> None:
    message = MESSAGES[name]
    committed = json.loads((COMMITTED / message.file_name).read_text("utf-8"))
    assert breaks(committed, message.schema(), message.direction) == []


def test_no_schema_is_left_behind_by_a_message_that_is_gone() -> None:
    assert {file.name for file in COMMITTED.iterdir()} == {message.file_name for message in MESSAGES.values()}


def test_every_message_from_am_has_a_schema() -> None:
    assert set(TYPES) <= set(MESSAGES)


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_field_is_there(name: str) -> None:
    schema = MESSAGES[name].schema()
    data = schema["$defs"][schema["properties"]["data"]["$ref"].rpartition("/")[2]]
    assert set(PROMISED[name].split()) <= set(data["properties"])
    envelope = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
    assert set(schema["properties"]) == envelope | ({"traceparent"} if name in TYPES else set())


@pytest.mark.parametrize("name", TYPES)
def test_an_event_needs_its_name_its_type_and_its_time(name: str) -> None:
    assert {"id", "source", "type", "time", "data"} == set(MESSAGES[name].schema()["required"])


def test_what_is_described_is_named_after_its_file() -> None:
    assert all(
        isinstance(message, Described) and message.schema()["title"] == name for name, message in MESSAGES.items()
    )
