"""The documents for other people's programmers: up to date, and every example in them is what our own code reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.broker.topology import EVENTS, EXCHANGE
from schemas import agents_document, asyncapi, examples, tts
from schemas.am_messages import TYPES, parse_event
from schemas.err_codes import ErrCode
from schemas.export import COMMITTED, DOCUMENTS, documents, export
from schemas.results import RESULT_TYPES, ResultEvent
from schemas.tts_forms import decode
from schemas.tts_signature import is_signed
from tests.contract.tts_vectors import KEY, VECTORS

GUIDE = agents_document.render()
API = asyncapi.document()
FORMS = re.findall(r"```form\n(.+)\n```", GUIDE)


@pytest.mark.parametrize("name", documents())
def test_the_committed_document_is_up_to_date(name: str) -> None:
    committed = (DOCUMENTS / name).read_text("utf-8")
    assert committed == documents()[name], "run `daifu schemas export` and commit the result"


def test_documents_go_beside_the_schemas_only_in_a_folder_of_somebody_else(tmp_path: Path) -> None:
    written = {file.name for file in export(tmp_path)}
    assert set(documents()) <= written
    assert not any((COMMITTED / name).exists() for name in documents())


# -- the agents' interface --------------------------------------------------------------------------------------


def test_the_guide_shows_the_vectors_of_the_sheet() -> None:
    shown = {decode(body.encode()).get("HMAC") for body in FORMS}
    of_the_sheet = {vector.hmac for vector in VECTORS}
    assert shown <= of_the_sheet
    assert len(shown) == len(examples.FORMS)


@pytest.mark.parametrize("body", FORMS)
def test_an_example_of_the_guide_is_signed_and_readable(body: str) -> None:
    form = decode(body.encode())
    kind: type[tts.TtsForm] | None
    if form.get("opt"):
        kind = tts.PURCHASE_FORMS[form.get("opt")]
        formula = agents_document.FORMULAS[form.get("opt")]
    elif form.get("payStatus"):
        kind, formula = None, agents_document.FORMULAS["代付结果"]
    elif form.get("type"):
        kind, formula = tts.QueryOrdersForm, agents_document.FORMULAS["QueryOrders"]
    else:
        kind, formula = tts.GoPayForm, agents_document.FORMULAS["ProcessGoPay"]
    assert is_signed(form.get("HMAC"), KEY, [form.get(name) for name in formula])
    if kind is None:
        assert form.get("payStatus") in tts.PAY_STATUSES
    else:
        tts.read(kind, form)


def test_the_guide_names_every_parameter_code_and_status() -> None:
    forms = (*tts.PURCHASE_FORMS.values(), tts.GoPayForm, tts.QueryOrdersForm, tts.Callback)
    names = {str(field.alias) for form in forms for field in form.model_fields.values()}
    missing = [word for word in (*names, *ErrCode, *tts.PAY_STATUSES) if word not in GUIDE]
    assert missing == []


def test_the_order_of_the_guide_is_json_without_null() -> None:
    (text,) = re.findall(r"```json\n(.+?)\n```", GUIDE, re.DOTALL)
    assert "null" not in text
    assert json.loads(text)["orderNo"] == examples.ORDER_NO


# -- AsyncAPI ---------------------------------------------------------------------------------------------------


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_the_api_is_asyncapi_3_with_the_two_exchanges() -> None:
    assert API["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(API["info"])
    exchanges = {name: channel["bindings"]["amqp"]["exchange"]["name"] for name, channel in API["channels"].items()}
    assert exchanges == {"orders": EXCHANGE, "results": EVENTS}
    assert {name: one["action"] for name, one in API["operations"].items()} == {
        "receiveOrders": "receive",
        "sendResults": "send",
    }


def test_every_reference_of_the_api_leads_somewhere() -> None:
    for reference in set(references(API)):
        place: Any = API
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def test_every_message_is_in_the_api() -> None:
    assert set(API["channels"]["orders"]["messages"]) == set(TYPES)
    assert set(API["channels"]["results"]["messages"]) == set(RESULT_TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_an_example_of_the_api_is_a_message_that_we_read(kind: str) -> None:
    (example,) = API["components"]["messages"][kind]["examples"]
    event = parse_event(json.dumps(example["payload"]).encode())
    assert event.type == kind


@pytest.mark.parametrize("kind", RESULT_TYPES)
def test_an_example_of_the_api_is_a_result_that_we_write(kind: str) -> None:
    (example,) = API["components"]["messages"][kind]["examples"]
    event = ResultEvent.model_validate_json(json.dumps(example["payload"]))
    assert event.id == f"{event.data.order_no}:{event.data.generation}:{kind}"
    assert (event.data.err_code is None) == (kind != "purchase.refused")
