"""Keyset paging: a page begins after the last row of the page before, however long the list is and whatever is added meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Text, literal, tuple_
from sqlalchemy.sql import ColumnElement

from pipeline.errors import DaifuError
from pipeline.store.engine import Row, Transaction
from pipeline.store.types import Instant, to_us

PAGE = 50
_LARGEST = 2**63 - 1


class BadCursor(DaifuError):
    """Not a cursor that this list gave out."""

    def __init__(self) -> None:
        super().__init__("翻页位置无效, 请从第一页开始")


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the cursor of the page after them; None: it is the last."""

    rows: list[dict[str, Any]]
    next: str | None = None


def fetch(
    tx: Transaction,
    query: Select[Any],
    keys: Sequence[ColumnElement[Any]],
    cursor: str | None,
    limit: int = PAGE,
    *,
    descending: bool = True,
) -> tuple[list[Row[Any]], str | None]:
    """One page of `query` ordered by `keys`, all in one direction and unique together; each is a column that `query` selects.

    Returns the rows and the next page's cursor. Raises BadCursor.
    """
    order = [key.desc() if descending else key.asc() for key in keys]
    query = query.order_by(None).order_by(*order).limit(limit + 1)
    if cursor:
        values = [literal(value, key.type) for key, value in zip(keys, _read(cursor, keys), strict=True)]
        here, there = tuple_(*keys), tuple_(*values)
        query = query.where(here < there if descending else here > there)
    rows = tx.rows(query)
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], _written([last._mapping[key] for key in keys])  # noqa: SLF001 - SQLAlchemy's public name


def _written(values: Sequence[Any]) -> str:
    plain = [to_us(value) if hasattr(value, "tzinfo") else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain, ensure_ascii=False).encode()).decode().rstrip("=")


def _read(cursor: str, keys: Sequence[ColumnElement[Any]]) -> list[int | str]:
    try:
        packed = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(packed, altchars=b"-_", validate=True))
    except (ValueError, UnicodeError):
        raise BadCursor from None
    if not isinstance(values, list) or len(values) != len(keys):
        raise BadCursor
    for value, key in zip(values, keys, strict=True):
        _check(value, text=isinstance(key.type, Text) and not isinstance(key.type, Instant))
    return values


def _check(value: object, *, text: bool) -> None:
    if text and isinstance(value, str) and "\0" not in value and _is_text(value):
        return
    if not text and type(value) is int and abs(value) <= _LARGEST:
        return
    raise BadCursor


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
