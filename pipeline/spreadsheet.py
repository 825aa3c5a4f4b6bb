"""Rows as CSV that a spreadsheet opens as what it is: text, never a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

BOM: Final = "\ufeff"  # before the first line: by it a spreadsheet knows UTF-8
# A spreadsheet takes a cell that begins so for a formula (OWASP, CSV Injection), spaces before it or not; one in Chinese the wide
# forms too.
_RISKY: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: Any) -> Any:
    """`value` as a cell: a text that would be a formula gets an apostrophe in front; numbers stay numbers, None is empty.

    Lists and objects are written as JSON, which begins as no formula does.
    """
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.lstrip(" \u3000").startswith(_RISKY) else value


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The heading, then one line for each row, as RFC 4180 has them; made as they are read, however many there are."""
    yield _line(columns)
    for row in rows:
        yield _line([row[name] for name in columns])


def _line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([cell(value) for value in values])
    return line.getvalue()
