"""Inserting many rows in one statement: arrays on PostgreSQL, executemany on SQLite (spike-costs section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Table, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql import Executable

from pipeline.store.engine import Transaction

Values = dict[str, Any]


@lru_cache(maxsize=256)
def _statement(
    table: Table, names: tuple[str, ...], returning: str | None, *, postgresql: bool, ignore: bool
) -> Executable:
    if postgresql:
        arrays = [func.unnest(bindparam(name, type_=ARRAY(table.c[name].type))) for name in names]
        statement: Any = pg_insert(table).from_select(list(names), select(*arrays))
    else:
        statement = sqlite_insert(table).values({name: bindparam(name) for name in names})
    if ignore:
        statement = statement.on_conflict_do_nothing()
    if returning is not None:
        statement = statement.returning(table.c[returning])
    result: Executable = statement
    return result


def _arrays(names: Sequence[str], rows: Sequence[Values]) -> Values:
    return {name: [row[name] for row in rows] for name in names}


def insert_rows(tx: Transaction, table: Table, rows: Sequence[Values], *, ignore: bool = False) -> None:
    """Insert all rows (same keys each). `ignore`: a row that meets any unique index is left out."""
    if not rows:
        return
    names = tuple(sorted(rows[0]))
    statement = _statement(table, names, None, postgresql=tx.postgresql, ignore=ignore)
    tx.run(statement, _arrays(names, rows) if tx.postgresql else list(rows))


def insert_new(tx: Transaction, table: Table, rows: Sequence[Values], key: Column[Any]) -> set[Any]:
    """Insert what is not there yet and say which: the keys of the rows that are new."""
    if not rows:
        return set()
    names = tuple(sorted(rows[0]))
    statement = _statement(table, names, key.name, postgresql=tx.postgresql, ignore=True)
    if tx.postgresql:
        return {row[0] for row in tx.rows(statement, _arrays(names, rows))}
    return {row[0] for values in rows for row in tx.rows(statement, values)}
