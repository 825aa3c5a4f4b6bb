"""Many rows in one statement, built once: arrays and `= ANY` on PostgreSQL, one JSON parameter on SQLite (spike-costs section 4).

A statement over given rows joins them to a table. On PostgreSQL the join alone may scan the whole table, so the key stands
beside it as `= ANY`; the rows are sorted by it, so that two transactions meet the same keys in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    FromClause,
    Text,
    TypeDecorator,
    and_,
    bindparam,
    case,
    column,
    false,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql import ColumnElement, Executable
from sqlalchemy.types import Boolean, Integer, TypeEngine

from pipeline.store.arrays import BIGINT, BOOLEAN, TEXT, Array, alike
from pipeline.store.engine import Row, Transaction
from pipeline.store.types import ArrayOf, Instant, Json, JsonText, json_text, to_us

T = TypeVar("T")
Values = Sequence[Any]


def _plain(kind: TypeEngine[Any]) -> str:
    """The type that goes over the wire: spared SQLAlchemy's conversion of each single element."""
    if isinstance(kind, Instant | Integer):
        return BIGINT
    return BOOLEAN if isinstance(kind, Boolean) else TEXT


def _as_is(values: Values) -> Values:
    return values


def _moments(values: Values) -> Values:
    if alike(values):
        return [None if values[0] is None else to_us(values[0])] * len(values)
    known: dict[Any, Any] = {None: None}  # many rows of a batch have one moment in common
    return [known[each] if each in known else known.setdefault(each, to_us(each)) for each in values]


def _documents(values: Values) -> Values:
    return [value if value is None or isinstance(value, JsonText) else json_text(value) for value in values]


def _into_plain(kind: TypeEngine[Any]) -> Callable[[Values], Values]:
    """What makes a column's values what goes over the wire."""
    if isinstance(kind, Instant):
        return _moments
    return _documents if isinstance(kind, Json) else _as_is


class Column(NamedTuple):
    """A column of given rows as a parameter: found once for a statement, not for each of its executions."""

    parameter: str
    element: str
    into_plain: Callable[[Values], Values]


def columns_of(kinds: Mapping[str, TypeEngine[Any]], prefix: str = "g") -> tuple[Column, ...]:
    return tuple(Column(f"{prefix}_{name}", _plain(kind), _into_plain(kind)) for name, kind in kinds.items())


class Given:
    """The rows a statement is given, as something to select from. `c` are their columns. `prefix` tells the parameters of
    several in one statement apart."""

    def __init__(self, kinds: Mapping[str, TypeEngine[Any]], *, postgresql: bool, prefix: str = "g") -> None:
        self.is_json = not postgresql
        self._binds = {name: bindparam(f"{prefix}_{name}", type_=ArrayOf(_plain(kind))) for name, kind in kinds.items()}
        self.rows: FromClause = self._arrays(kinds) if postgresql else self._json(kinds)
        self.c = self.rows.c

    def _arrays(self, kinds: Mapping[str, TypeEngine[Any]]) -> FromClause:
        columns = [column(name, _type_of(kind)) for name, kind in kinds.items()]
        return func.unnest(*self._binds.values()).table_valued(*columns).render_derived(name="given")

    def _json(self, kinds: Mapping[str, TypeEngine[Any]]) -> FromClause:
        each = func.json_each(bindparam("g_rows", type_=Text())).table_valued(column("value"), name="each")
        found = [
            func.json_extract(each.c.value, f"$[{at}]", type_=_type_of(kind)).label(name)
            for at, (name, kind) in enumerate(kinds.items())
        ]
        return select(*found).select_from(each).subquery("given")

    def has(self, target: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """`target` is this column of the row that it is joined to: for an UPDATE … FROM."""
        joined = target == self.c[name]
        return joined if self.is_json else joined & self.names(target, name)

    def guard(self, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """What must hold of the target row beside its key. PostgreSQL takes few rows for likely to be in such a state, and would
        then go through all given rows once per row; of a CASE it takes every second one for true, and hashes them."""
        whole = and_(*conditions)
        return whole if self.is_json else case((whole, true()), else_=false())

    def names(self, target: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """`target` is this column of one of the rows."""
        if self.is_json:
            return target.in_(select(self.c[name]))
        among: ColumnElement[bool] = target == func.any(self._binds[name])
        return among

    def holds(self, table: FromClause, *names: str) -> ColumnElement[bool]:
        """The table's columns of these names are together one of the rows; the first is the key. For a DELETE."""
        whole = tuple_(*(table.c[name] for name in names)).in_(select(*(self.c[name] for name in names)))
        return self.names(table.c[names[0]], names[0]) & whole


def _type_of(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """What a given column counts as in expressions: a stored document is text on both databases."""
    if not isinstance(kind, TypeDecorator):
        return kind
    return BigInteger() if _plain(kind) == BIGINT else Text()


def arrays(columns: Sequence[Column], values: Sequence[Values]) -> dict[str, Array]:
    """The parameters of `Given` on PostgreSQL, from the rows' values column by column."""
    return {
        parameter: Array(element, into_plain(of_column))
        for (parameter, element, into_plain), of_column in zip(columns, values, strict=True)
    }


class OverRows:
    """A statement over given rows, for both databases. `columns` name them in the order of each row's values."""

    def __init__(self, columns: Mapping[str, TypeEngine[Any]], build: Callable[[Given], Executable]) -> None:
        self._kinds = dict(columns)
        self._columns = columns_of(self._kinds)
        self._build = build
        self._built: dict[bool, Executable] = {}

    def statement(self, *, postgresql: bool) -> Executable:
        """Built when it is first needed: a process works with one database, and runs one stage's statements."""
        if postgresql not in self._built:
            self._built[postgresql] = self._build(Given(self._kinds, postgresql=postgresql))
        return self._built[postgresql]

    def run(self, tx: Transaction, rows: Sequence[Values], **more: Any) -> list[Row[Any]]:
        """Execute over all rows, the first column is their key; what it returns, if it returns rows."""
        if not rows:
            return []
        ordered = sorted(rows, key=itemgetter(0)) if len(rows) > 1 else rows
        return self.run_columns(tx, list(zip(*ordered, strict=True)), **more)

    def run_columns(self, tx: Transaction, columns: Sequence[Values], **more: Any) -> list[Row[Any]]:
        """The same over rows that are given column by column, in the order of their keys."""
        given: dict[str, Any]
        if tx.postgresql:
            given = arrays(self._columns, columns)
        else:
            plain = [each.into_plain(values) for each, values in zip(self._columns, columns, strict=True)]
            given = {"g_rows": json_text(list(zip(*plain, strict=True)))}
        return tx.rows(self.statement(postgresql=tx.postgresql), given | more)


def rounds(items: Sequence[T], *keys_of: Callable[[T], Hashable]) -> list[list[T]]:
    """Items in rounds, so that none of their keys comes twice in one round, and what has a key in common keeps its order."""
    if all(len(set(map(key_of, items))) == len(items) for key_of in keys_of):
        return [list(items)] if items else []  # as nearly always
    found: list[list[T]] = []
    seen: dict[Hashable, int] = {}  # key -> how many rounds have it
    for item in items:
        keys = [(at, key_of(item)) for at, key_of in enumerate(keys_of)]
        place = max(seen.get(key, 0) for key in keys)
        seen |= dict.fromkeys(keys, place + 1)
        if place == len(found):
            found.append([])
        found[place].append(item)
    return found
