"""Whether a change of a message is noticed that its neighbours would not survive."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.am_messages import NeedPayEvent
from schemas.compatibility import Direction, breaks
from schemas.export import IncompatibleSchema, described, documents, export

OLD: dict[str, Any] = {
    "type": "object",
    "required": ["number"],
    "properties": {
        "number": {"type": "string"},
        "fen": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "kind": {"enum": ["a", "b"]},
        "seats": {"type": "array", "items": {"$ref": "#/$defs/Seat"}},
    },
    "$defs": {"Seat": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}}},
}


def changed(**properties: Any) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    new["properties"].update(properties)
    return new


def without(schema: dict[str, Any], name: str) -> dict[str, Any]:
    new = copy.deepcopy(schema)
    del new["properties"][name]
    return new


@pytest.mark.parametrize("direction", ["incoming", "outgoing", "both"])
def test_nothing_breaks_without_a_change(direction: Direction) -> None:
    assert breaks(OLD, OLD, direction) == []


@pytest.mark.parametrize("direction", ["incoming", "outgoing", "both"])
def test_a_removed_field_breaks(direction: Direction) -> None:
    assert breaks(OLD, without(OLD, "fen"), direction) == ["fen: removed"]


@pytest.mark.parametrize("direction", ["incoming", "outgoing", "both"])
def test_a_changed_type_breaks(direction: Direction) -> None:
    broken = breaks(OLD, changed(number={"type": "integer"}), direction)
    assert broken == ["number: type changed from string to integer"]


def test_a_reader_may_take_more_types_and_a_writer_may_not_write_more() -> None:
    wider = changed(number={"anyOf": [{"type": "string"}, {"type": "integer"}]})
    assert breaks(OLD, wider, "incoming") == []
    assert breaks(OLD, wider, "outgoing") == ["number: type changed from string to integer or string"]
    assert breaks(wider, OLD, "incoming") == ["number: type changed from integer or string to string"]
    assert breaks(wider, OLD, "outgoing") == []


def test_a_reader_may_not_forget_a_listed_value() -> None:
    assert breaks(OLD, changed(kind={"enum": ["a"]}), "incoming") == ["kind: type changed from =a or =b to =a"]
    assert breaks(OLD, changed(kind={"enum": ["a", "b", "c"]}), "incoming") == []


def test_a_new_required_field_breaks_only_what_others_write() -> None:
    new = changed(extra={"type": "string"}) | {"required": ["number", "extra"]}
    assert breaks(OLD, new, "incoming") == ["extra: new and required"]
    assert breaks(OLD, new, "both") == ["extra: new and required"]
    assert breaks(OLD, new, "outgoing") == []


def test_a_new_optional_field_breaks_nobody() -> None:
    assert breaks(OLD, changed(extra={"type": "string"}), "incoming") == []


def test_a_field_that_became_required_or_may_now_be_missing_breaks() -> None:
    assert breaks(OLD, OLD | {"required": ["number", "fen"]}, "incoming") == ["fen: became required"]
    assert breaks(OLD, OLD | {"required": []}, "outgoing") == ["number: may be missing now"]
    assert breaks(OLD, OLD | {"required": []}, "incoming") == []


def test_fields_deep_inside_are_compared_by_their_path() -> None:
    new = copy.deepcopy(OLD)
    new["$defs"]["Seat"]["properties"]["price_fen"] = {"type": "integer"}
    new["$defs"]["Seat"]["required"].append("price_fen")
    assert breaks(OLD, new, "incoming") == ["seats[].price_fen: new and required"]


def test_what_a_new_optional_object_requires_breaks_nobody() -> None:
    inner = {"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}}
    assert breaks(OLD, changed(extra=inner), "incoming") == []


def test_a_schema_that_contains_itself_ends() -> None:
    tree = {"$ref": "#/$defs/T", "$defs": {"T": {"type": "object", "properties": {"next": {"$ref": "#/$defs/T"}}}}}
    assert breaks(tree, tree, "both") == []


def test_a_missing_field_of_a_real_message_is_named() -> None:
    old = NeedPayEvent.model_json_schema()
    new = copy.deepcopy(old)
    del new["$defs"]["NeedPay"]["properties"]["held_order_no"]
    new["$defs"]["NeedPay"]["required"].append("price_fen")
    assert breaks(old, new, "incoming") == ["data.held_order_no: removed", "data.price_fen: became required"]


def test_export_writes_every_message_and_repeats_itself_to_the_byte(tmp_path: Path) -> None:
    first = {file.name: file.read_bytes() for file in export(tmp_path / "new" / "folder")}
    assert list(first) == [*(message.file_name for message in described()), *documents()]
    assert {file.name: file.read_bytes() for file in export(tmp_path / "new" / "folder")} == first


def test_export_refuses_to_write_over_a_schema_that_it_would_break(tmp_path: Path) -> None:
    files = export(tmp_path)
    paid = next(file for file in files if file.name == "order.paid.schema.json")
    old = json.loads(paid.read_text("utf-8"))
    old["$defs"]["OrderPaid"]["properties"]["gone"] = {"type": "string"}
    paid.write_text(json.dumps(old), "utf-8")
    with pytest.raises(IncompatibleSchema, match=r"^order\.paid: data\.gone: removed$"):
        export(tmp_path)
    assert json.loads(paid.read_text("utf-8")) == old
