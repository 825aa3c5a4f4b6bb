"""The search for canaries finds one wherever it is put, in whatever form: else that nothing is found would mean nothing."""

from __future__ import annotations

import base64
import html
import json
import string
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest

from tests.integration.canaries import canary, places_of

SECRET = canary("planted")
WRITTEN: dict[str, Callable[[str], str | bytes]] = {
    "plain": str,
    "JSON": json.dumps,
    "JSON of pydantic": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps({"a": json.dumps({"b": text})}),
    "an address": lambda text: quote(text, safe=""),
    "a form": lambda text: urlencode({"pw": text}),
    "a page": html.escape,
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "hex": lambda text: text.encode().hex(),
    "upper-case hex": lambda text: text.encode().hex().upper(),
    "bytea of a dump": lambda text: f"\\x{text.encode().hex()}",
    "base64": lambda text: base64.b64encode(text.encode()),
    "basic authorization": lambda text: base64.b64encode(f"daifu:{text}".encode()),
    "base64 of a message": lambda text: base64.b64encode(f'{{"pw": "{text}", "more": 1}}'.encode()),
    "base64url of a message": lambda text: base64.urlsafe_b64encode(f"??>{text}<".encode()),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_planted_canary_is_found(form: str) -> None:
    written = WRITTEN[form](SECRET)
    content = written if isinstance(written, bytes) else written.encode()
    places = {"clean": string.printable.encode() * 10, form: b"before " + content + b" after"}
    assert places_of(SECRET, places) == [form]


@pytest.mark.parametrize("before", range(7))
def test_base64_is_found_wherever_the_secret_begins_in_it(before: int) -> None:
    key = bytes(range(32))
    for after in range(4):
        text = base64.b64encode(b"x" * before + key + b"y" * after)
        assert places_of(key, {"here": text, "not here": base64.b64encode(b"x" * 50)}) == ["here"]
