"""Column types and SQL constructs that mean the same on PostgreSQL and SQLite.

Times are stored as BIGINT microseconds since 1970 UTC: one representation, comparable and addable in both dialects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json
from sqlalchemy import BigInteger, Dialect, Text, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import ColumnClause, bindparam
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import Boolean, TypeEngine, UserDefinedType

from pipeline.store.arrays import TEXT, Array

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATELY = 1_000  # moments that are kept converted
SECOND_US = 1_000_000


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware datetime."""
    return (moment - EPOCH) // MICROSECOND


class _Moments(dict[Any, Any]):
    """Moments by their microseconds, NULL by None. Rows of one batch have many in common, and an order's rows hold 45: one that is
    known costs no call of Python's, another one."""

    def __missing__(self, us: int | None) -> datetime | None:
        if us is None:
            return None
        if len(self) >= LATELY:
            self.clear()
        moment = self[us] = EPOCH + us * MICROSECOND
        return moment


_MOMENTS = _Moments()


def from_us(us: int) -> datetime:
    moment: datetime = _MOMENTS[us]
    return moment


def seconds_us(seconds: float) -> int:
    return round(seconds * SECOND_US)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | int | None, dialect: Dialect) -> int | None:
        return to_us(value) if isinstance(value, datetime) else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return _MOMENTS.__getitem__  # without the two calls that a TypeDecorator puts around a method of its own

    def coerce_compared_value(self, op: object, value: object) -> TypeEngine[Any]:
        # `due_at + 5_000_000`: a bare number beside an instant is a span of microseconds.
        return BigInteger() if isinstance(value, int) else self


class Json(TypeDecorator[Any]):
    """A JSON document kept as text, so that both dialects store the same bytes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


def json_text(value: Any) -> str:
    """JSON without spaces; pydantic's writer takes a quarter of the time of the standard library's."""
    return to_json(value).decode()


class JsonText(str):
    """A JSON document that is text already."""


class ArrayOf(UserDefinedType[Array]):
    """A PostgreSQL array of values that are made one already (see `arrays`)."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, element: str) -> None:
        self.element = element

    def get_col_spec(self, **_kw: Any) -> str:
        return f"{self.element}[]"


class Keys(TypeDecorator[Sequence[str]]):
    """A list of text keys as ONE parameter: an array on PostgreSQL, a JSON array on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ArrayOf(TEXT) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        ordered = sorted(value or ())  # a fixed order of keys, so that two transactions meet in the same order
        return Array(TEXT, ordered) if dialect.name == "postgresql" else json.dumps(ordered)


class one_of(ColumnElement[bool]):  # noqa: N801 - reads as SQL: where(one_of(work.c.key, "keys"))
    """`column` is among the keys bound as `name`: `= ANY(:name)`, on SQLite `IN (SELECT value FROM json_each(:name))`."""

    type = Boolean()
    inherit_cache = True
    _traverse_internals = [  # both parts belong in the cache key; SQLAlchemy reads it from the class # noqa: RUF012
        ("column", InternalTraversal.dp_clauseelement),
        ("keys", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[Any], name: str = "keys") -> None:
        self.column = column
        self.keys: BindParameter[Any] = bindparam(name, type_=Keys())

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.column._from_objects)  # noqa: SLF001 - SQLAlchemy's own extension point

    def self_group(self, against: Any = None) -> one_of:
        """As it is: SQLAlchemy would write `… = 1` where it takes a database for one without booleans, and SQLite reads the
        whole table to find what is 1."""
        return self


@compiles(one_of, "postgresql")
def _one_of_postgresql(element: one_of, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY ({compiler.process(element.keys, **kw)})"


@compiles(one_of, "sqlite")
def _one_of_sqlite(element: one_of, compiler: Any, **kw: Any) -> str:
    column, keys = compiler.process(element.column, **kw), compiler.process(element.keys, **kw)
    return f"{column} IN (SELECT value FROM json_each({keys}))"  # noqa: S608 - built from SQLAlchemy's own parts


class db_now(GenericFunction[datetime]):  # noqa: N801 - reads as SQL
    """The database's clock at this statement (not at the transaction's start), as an Instant.

    On SQLite it is the function `daifu_now`, which every connection gets from the store's clock: a test's virtual time.
    """

    type = Instant()
    inherit_cache = True


@compiles(db_now, "postgresql")
def _db_now_postgresql(element: db_now, compiler: Any, **kw: Any) -> str:
    return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@compiles(db_now, "sqlite")
def _db_now_sqlite(element: db_now, compiler: Any, **kw: Any) -> str:
    return "daifu_now()"


def clock_function(now: Callable[[], datetime]) -> Callable[[], int]:
    """What SQLite calls as `daifu_now()`."""
    return lambda: to_us(now())


__all__ = [
    "ArrayOf",
    "ColumnClause",
    "Instant",
    "Json",
    "JsonText",
    "Keys",
    "clock_function",
    "db_now",
    "from_us",
    "json_text",
    "one_of",
    "seconds_us",
    "to_us",
]
