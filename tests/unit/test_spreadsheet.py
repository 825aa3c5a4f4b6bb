"""CSV for spreadsheets: nothing that a person or an agent wrote becomes a formula."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from pipeline.spreadsheet import cell, csv_lines


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_a_text_that_would_be_a_formula_is_kept_as_text(first: str) -> None:
    assert cell(f"{first}cmd|' /C calc'!A0") == f"'{first}cmd|' /C calc'!A0"


@pytest.mark.parametrize("value", [-1240, 0, None, True, "E646076788", "占座 = 1241.00 元", ""])
def test_everything_else_stays_as_it_is(value: Any) -> None:
    assert cell(value) == value


def test_lines_are_read_back_as_they_were() -> None:
    rows = [
        {"note": 'a, "b"\r\nc', "fen": -5, "none": None, "more": 1},
        {"note": "=1+1", "fen": 7, "none": "", "more": 2},
    ]
    text = "".join(csv_lines(("note", "fen", "none"), rows))
    assert list(csv.reader(io.StringIO(text))) == [
        ["note", "fen", "none"],
        ['a, "b"\r\nc', "-5", ""],
        ["'=1+1", "7", ""],
    ]
