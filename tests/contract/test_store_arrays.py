"""What goes to PostgreSQL as an array comes back as it was."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from sqlalchemy import bindparam, func, select

from pipeline.states import PurchaseState
from pipeline.store.arrays import BIGINT, BOOLEAN, TEXT, Array
from pipeline.store.engine import Store
from pipeline.store.types import ArrayOf, JsonText

TEXTS = ["", "a", 'b"\\c', "NULL", "{}", "占座", "\x1e\x1f\n", "😀" * 5000, JsonText('{"a":1}'), PurchaseState.PAYING]
INTEGERS = [0, 1, -2, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    ("element", "values"),
    [
        (TEXT, []),
        (TEXT, TEXTS),
        (TEXT, [None, *TEXTS, None]),
        (TEXT, [None, None]),
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


@pytest.mark.parametrize("wrong", [2**63, "1"])
def test_what_is_no_64_bit_integer_is_refused_here(wrong: Any) -> None:
    with pytest.raises(struct.error):
        Array(BIGINT, [1, wrong])
