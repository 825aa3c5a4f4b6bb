"""Statements that are executed again and again: compiled once, and handed to psycopg as text.

For a statement over a few rows SQLAlchemy's execution takes longer than the driver and PostgreSQL together: 110 of 210 µs of CPU
of this process. The text is still what SQLAlchemy writes, values and results go through its types, connections and transactions
are its own, and an error is raised as SQLAlchemy raises it.  On SQLite nothing comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Connection, Dialect
from sqlalchemy.engine import Row, result_tuple
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]
NOTHING: Final[Mapping[str, Any]] = {}


class Ready:
    """One statement for one dialect."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined] # whatever is executed here is compiled too
        binds = compiled.binds
        asked = {name: bind for name, bind in binds.items() if bind.required}
        whole = {name: value for name, value in compiled.params.items() if name not in asked}
        self.fits = not (
            statement.get_execution_options()
            or any(bind.expanding or bind.literal_execute or bind.callable for bind in binds.values())
        )
        self._text: str = compiled.string
        self._asked = asked.keys()
        self._into = _known({name: _bound(bind.type, dialect) for name, bind in asked.items()})
        self._whole = {name: _converted(_bound(binds[name].type, dialect), value) for name, value in whole.items()}
        self._types = [column.type for column in getattr(statement, "exported_columns", ())]
        self._out: list[tuple[int, Convert]] = []
        self._make: Callable[[Sequence[Any]], Row[Any]] | None = None  # known, as `_out` is, from the first result on

    def takes(self, given: Mapping[str, Any]) -> bool:
        """Whether these are its parameters, no more and no less. Others have SQLAlchemy write another text."""
        return given.keys() == self._asked

    def rows(self, connection: Connection, given: Mapping[str, Any]) -> list[Row[Any]]:
        """What it returns, if it returns rows. The connection has begun a transaction."""
        cursor = self._executed(connection, given)
        if cursor.description is None:
            return []
        make = self._make or self._described(cursor.description, connection.dialect)
        return [make(self._values(row) if self._out else row) for row in cursor.fetchall()]

    def moved(self, connection: Connection, given: Mapping[str, Any]) -> int:
        return self._executed(connection, given).rowcount

    def _executed(self, connection: Connection, given: Mapping[str, Any]) -> psycopg.Cursor[Any]:
        params = {**self._whole, **given}
        for name, convert in self._into:
            params[name] = convert(params[name])
        below: Any = connection.connection.driver_connection
        cursor: psycopg.Cursor[Any] = below.cursor()
        for hear in connection.dispatch.before_cursor_execute:  # whoever counts or explains statements
            hear(connection, cursor, self._text, params, None, False)
        try:
            return cursor.execute(self._text, params)
        except psycopg.Error as error:
            raise _as_sqlalchemy_raises(error, connection, self._text) from error

    def _described(self, columns: Sequence[psycopg.Column], dialect: Dialect) -> Callable[[Sequence[Any]], Row[Any]]:
        found = [
            _found(kind, dialect, column.type_code)
            for kind, column in zip(self._types, columns, strict=bool(self._types))
        ]
        self._out = _known(dict(enumerate(found)))
        self._make = result_tuple([column.name for column in columns])
        return self._make

    def _values(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for at, convert in self._out:
            values[at] = convert(values[at])
        return values


def _as_sqlalchemy_raises(error: psycopg.Error, connection: Connection, text: str) -> BaseException:
    dialect = connection.dialect
    broken = dialect.is_disconnect(error, connection.connection, None)  # type: ignore[arg-type] # psycopg's own class
    if broken:
        connection.invalidate(error)
    return DBAPIError.instance(
        text, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=broken, dialect=dialect
    )


def _bound(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _found(kind: TypeEngine[Any], dialect: Dialect, type_code: int) -> Convert | None:
    return kind.dialect_impl(dialect).result_processor(dialect, type_code)


def _converted(convert: Convert | None, value: Any) -> Any:
    return value if convert is None else convert(value)


def _known(converts: Mapping[Any, Convert | None]) -> list[tuple[Any, Convert]]:
    return [(key, convert) for key, convert in converts.items() if convert is not None]


class ReadyStatements:
    """Those of one engine. A statement is taken for one of them when the same object is executed for the second time: what is
    built for one execution alone would be compiled for nothing."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Executable, Ready | None] = WeakKeyDictionary()

    def find(self, statement: Executable, given: Any, dialect: Dialect) -> Ready | None:
        """None: let SQLAlchemy execute it."""
        if statement not in self._of:
            self._of[statement] = None
            return None
        ready = self._of[statement]
        if ready is None:
            ready = self._of[statement] = Ready(statement, dialect)
        return ready if ready.fits and isinstance(given, Mapping) and ready.takes(given) else None
