"""What goes to PostgreSQL as an array comes back as it was."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select

from pipeline.states import PurchaseState
from pipeline.store.arrays import BIGINT, BOOLEAN, TEXT, Array
from pipeline.store.engine import Store, open_store
from pipeline.store.types import ArrayOf, JsonText
from tests.contract.store_subjects import HandClock

TEXTS = ["", "a", 'b"\\c', "NULL", "{}", "占座", "\x1e\x1f\n", "😀" * 5000, JsonText('{"a":1}'), PurchaseState.PAYING]
INTEGERS = [0, 1, -2, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    ("element", "values"),
    [
        (TEXT, []),
        (TEXT, TEXTS),
        (TEXT, [None, *TEXTS, None]),
        (TEXT, [None, None]),
        (TEXT, ["占座", "占座", PurchaseState.PAYING, "占座"]),
        (TEXT, ["占座"] * 300),
        (TEXT, [PurchaseState.PAYING, "paying"]),
        (TEXT, [f"order-{n}" for n in range(10_000)]),
        (BIGINT, []),
        (BIGINT, INTEGERS),
        (BIGINT, [*INTEGERS, None]),
        (BIGINT, list(range(10_000))),
        (BOOLEAN, []),
        (BOOLEAN, [True, False]),
        (BOOLEAN, [None, False, True]),
    ],
)
def test_an_array_comes_back_as_it_was(postgresql: Store, element: str, values: list[Any]) -> None:
    each = func.unnest(bindparam("given", type_=ArrayOf(element))).column_valued("each")
    found = postgresql.read(lambda tx: tx.rows(select(each), {"given": Array(element, values)}))
    assert [row[0] for row in found] == values


@pytest.mark.parametrize(
    ("element", "wrong"), [(BIGINT, 2**63), (BIGINT, "1"), (BIGINT, 1.0), (TEXT, 1), (BOOLEAN, "f"), (BOOLEAN, 2)]
)
@pytest.mark.parametrize("beside", [0, 1, None])
def test_what_is_no_such_element_is_refused_here(element: str, wrong: Any, beside: int | None) -> None:
    with pytest.raises((struct.error, TypeError, KeyError)):
        Array(element, [wrong, None] if beside is None else [wrong] * (1 + beside))


def test_texts_are_utf8_whatever_the_url_and_the_environment_say(
    tables_on_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "GBK")
    sign = "&" if "?" in tables_on_postgresql else "?"
    url = f"{tables_on_postgresql}{sign}client_encoding=GBK&options=-c%20client_encoding%3DGBK"
    with closing(open_store(url, HandClock())) as store:
        each = func.unnest(bindparam("given", type_=ArrayOf(TEXT))).column_valued("each")
        (row,) = store.read(lambda tx: tx.rows(select(each, func.char_length(each)), {"given": Array(TEXT, ["占座"])}))
    assert tuple(row) == ("占座", 2)
