"""Inserting many rows in one statement, and saying which of them were new."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, Table, select, true
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql import Executable

from pipeline.store.engine import Row, Transaction
from pipeline.store.sets import Given, OverRows
from pipeline.store.types import db_now

Values = dict[str, Any]


@lru_cache(maxsize=256)
def _insert(
    table: Table, names: tuple[str, ...], stamps: tuple[str, ...], returning: tuple[str, ...], *, ignore: bool
) -> OverRows:
    def build(given: Given) -> Executable:
        values = [*(given.c[name] for name in names), *(db_now() for _ in stamps)]
        # SQLite takes ON CONFLICT after a SELECT for a join condition, unless the SELECT has a WHERE.
        source = select(*values).where(true()) if given.is_json else select(*values)
        insert: Any = (sqlite_insert if given.is_json else pg_insert)(table).from_select([*names, *stamps], source)
        if ignore:
            insert = insert.on_conflict_do_nothing()
        if returning:
            insert = insert.returning(*(table.c[name] for name in returning))
        result: Executable = insert
        return result

    return OverRows({name: table.c[name].type for name in names}, build)


def _run(tx: Transaction, rows: Sequence[Values], statement: OverRows) -> list[Row[Any]]:
    names = tuple(rows[0])
    ordered = sorted(rows, key=itemgetter(names[0])) if len(rows) > 1 else rows
    return statement.run_columns(tx, [[row[name] for row in ordered] for name in names])


def insert_rows(
    tx: Transaction, table: Table, rows: Sequence[Values], *, ignore: bool = False, stamps: tuple[str, ...] = ()
) -> None:
    """Insert all rows (same keys each, in the same order; the first is what they are sorted by). `ignore`: a row that meets any
    unique index is left out. `stamps`: columns that take the database's clock."""
    if rows:
        _run(tx, rows, _insert(table, tuple(rows[0]), stamps, (), ignore=ignore))


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
    return _run(tx, rows, _insert(table, tuple(rows[0]), stamps, returning, ignore=True)) if rows else []
