"""Inserting many rows in one statement, and saying which of them were new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Column, Table, select, true
from sqlalchemy.types import TypeEngine

from pipeline.store import sets
from pipeline.store.arrays import Array
from pipeline.store.engine import Row, Transaction
from pipeline.store.sets import Given, OverRows
from pipeline.store.types import db_now

Values = dict[str, Any]


class _Shape(NamedTuple):
    """What an INSERT is like, whatever its rows."""

    table: Table
    names: tuple[str, ...]
    stamps: tuple[str, ...]
    ignore: bool

    @property
    def kinds(self) -> Mapping[str, TypeEngine[Any]]:
        return {name: self.table.c[name].type for name in self.names}

    def statement(self, given: Given) -> Any:
        values = [*(given.c[name] for name in self.names), *(db_now() for _ in self.stamps)]
        # SQLite takes ON CONFLICT after a SELECT for a join condition, unless the SELECT has a WHERE.
        source = select(*values).where(true()) if given.is_json else select(*values)
        insert: Any = _insert_of(given)(self.table)
        insert = insert.from_select([*self.names, *self.stamps], source)
        return insert.on_conflict_do_nothing() if self.ignore else insert


def _insert_of(given: Given) -> Callable[[Table], Any]:
    """The dialect's own INSERT. A process loads the dialect it works with."""
    if given.is_json:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert

    return postgresql_insert


@lru_cache(maxsize=256)
def _insert(shape: _Shape, returning: tuple[str, ...]) -> OverRows:
    def build(given: Given) -> Any:
        insert = shape.statement(given)
        return insert.returning(*(shape.table.c[name] for name in returning)) if returning else insert

    return OverRows(shape.kinds, build)


@lru_cache(maxsize=256)
def _columns_of(shape: _Shape, prefix: str) -> tuple[sets.Column, ...]:
    return sets.columns_of(shape.kinds, prefix)


@lru_cache(maxsize=64)
def _insert_together(shapes: tuple[_Shape, ...]) -> Any:
    """PostgreSQL's: all but the last stand in its WITH. `i0`, `i1`, … are the prefixes of their parameters."""
    *first, last = [
        shape.statement(Given(shape.kinds, postgresql=True, prefix=f"i{n}")) for n, shape in enumerate(shapes)
    ]
    return last.add_cte(*(insert.cte(f"insert_{n}") for n, insert in enumerate(first)))


def _columns(rows: Sequence[Values]) -> list[Sequence[Any]]:
    """The rows' values, sorted by the first, column by column."""
    ordered = sorted(rows, key=itemgetter(next(iter(rows[0])))) if len(rows) > 1 else rows
    return list(zip(*map(dict.values, ordered), strict=True))


def insert_rows(
    tx: Transaction, table: Table, rows: Sequence[Values], *, ignore: bool = False, stamps: tuple[str, ...] = ()
) -> None:
    """Insert all rows (same keys each, in the same order; the first is what they are sorted by). `ignore`: a row that meets any
    unique index is left out. `stamps`: columns that take the database's clock."""
    if not rows:
        return
    shape = _Shape(table, tuple(rows[0]), stamps, ignore)
    if tx.inserts is not None:
        tx.inserts.append((shape, _columns(rows)))
    else:
        _insert(shape, ()).run_columns(tx, _columns(rows))


@contextmanager
def together(tx: Transaction) -> Iterator[None]:
    """What `insert_rows` is given inside is inserted at the end, on PostgreSQL by one statement: a round trip less for each
    table but one. Nothing inside may read what is inserted there."""
    parts: list[tuple[_Shape, list[Sequence[Any]]]] = []
    tx.inserts = parts
    try:
        yield
    finally:
        tx.inserts = None
    if not tx.postgresql or len(parts) < 2:
        for shape, columns in parts:
            _insert(shape, ()).run_columns(tx, columns)
        return
    given: dict[str, Array] = {}
    for n, (shape, columns) in enumerate(parts):
        given |= sets.arrays(_columns_of(shape, f"i{n}"), columns)
    tx.rows(_insert_together(tuple(shape for shape, _ in parts)), given)


def append_rows(
    tx: Transaction, table: Table, rows: Sequence[Values], *, ignore: bool = False, stamps: tuple[str, ...] = ()
) -> None:
    """`insert_rows` right before the commit, together with all else that is appended in this transaction. For tables that only
    grow, and that nothing in the transaction reads afterwards. What is inserted `together` takes it along, unless an earlier row
    is put off already: they keep their order."""
    if tx.inserts is not None and not any(work is _append for _locks, work, _item in tx.put_off):
        insert_rows(tx, table, rows, ignore=ignore, stamps=stamps)
    elif rows:
        tx.late(_append, (_Shape(table, tuple(rows[0]), stamps, ignore), rows), locks=False)


def _append(tx: Transaction, items: Sequence[tuple[_Shape, Sequence[Values]]]) -> None:
    by_shape: dict[_Shape, list[Values]] = {}
    for shape, rows in items:
        by_shape.setdefault(shape, []).extend(rows)
    with together(tx):
        for shape, rows in by_shape.items():
            insert_rows(tx, shape.table, rows, ignore=shape.ignore, stamps=shape.stamps)


def insert_new(
    tx: Transaction, table: Table, rows: Sequence[Values], key: Column[Any], *, stamps: tuple[str, ...] = ()
) -> set[Any]:
    """Insert what is not there yet and say which: the keys of the rows that are new."""
    return {row[0] for row in insert_returning(tx, table, rows, (key.name,), stamps=stamps)}


def insert_returning(
    tx: Transaction,
    table: Table,
    rows: Sequence[Values],
    returning: tuple[str, ...],
    *,
    stamps: tuple[str, ...] = (),
) -> list[Row[Any]]:
    """Insert what is not there yet; these columns of the rows that are new."""
    if not rows:
        return []
    return _insert(_Shape(table, tuple(rows[0]), stamps, ignore=True), returning).run_columns(tx, _columns(rows))
