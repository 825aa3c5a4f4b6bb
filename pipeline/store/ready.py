"""Statements that are executed again and again: compiled once, and handed to the driver as text.

For a statement over a few rows SQLAlchemy's execution takes longer than the driver and PostgreSQL together: 110 of 210 µs of CPU
of this process; on SQLite 39 of 57. The text is still what SQLAlchemy writes, values and results go through its types, connections and
transactions are its own, whoever listens for statements hears of it, and an error is raised as SQLAlchemy raises it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect
from sqlalchemy.engine import Row, result_tuple
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable
from sqlalchemy.types import TypeEngine

CURSOR: Final = "cursor"  # in what SQLAlchemy keeps beside a connection: making one takes a tenth of a statement's time
MOST_KEPT: Final = 1_000  # rows

Convert = Callable[[Any], Any]
NOTHING: Final[Mapping[str, Any]] = {}


class Ready:
    """One statement for one dialect."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        binds = compiled.binds
        asked = {name: bind for name, bind in binds.items() if bind.required}
        self.fits = not (
            statement.get_execution_options()
            or any(bind.expanding for bind in asked.values())
            or any(bind.literal_execute or bind.callable for bind in binds.values())
        )
        self._asked = asked.keys()
        self._into = _known({name: _bound(bind.type, dialect) for name, bind in asked.items()})
        self._types = [column.type for column in getattr(statement, "exported_columns", ())]
        self._out: list[tuple[int, Convert]] = []
        # Known from the first execution on, as `_out` is: the driver describes every result anew, column by column.
        self._returns: bool | None = None
        self._make: Callable[[Sequence[Any]], Row[Any]] | None = None
        if not self.fits:
            return
        # With a place for each value of its own `IN (…)`: they are the same each time.
        whole = compiled.construct_expanded_state(dict.fromkeys(asked))
        kinds = {name: bind.type for name, bind in binds.items()}
        kinds |= {part: kinds[name] for name, parts in whole.parameter_expansion.items() for part in parts}
        self._text: str = whole.statement
        self._places: Sequence[str] | None = whole.positiontup  # None where the driver takes parameters by name
        self._whole = {
            name: _converted(_bound(kinds[name], dialect), value)
            for name, value in whole.parameters.items()
            if name not in asked
        }

    def takes(self, given: Mapping[str, Any]) -> bool:
        """Whether these are its parameters, no more and no less. Others have SQLAlchemy write another text."""
        return given.keys() == self._asked

    def rows(self, connection: Connection, given: Mapping[str, Any]) -> list[Row[Any]]:
        """What it returns, if it returns rows. The connection has begun a transaction."""
        cursor = self._executed(connection, given)
        if not self._returns:
            return []
        make = self._make or self._described(cursor.description, connection.dialect)
        found = cursor.fetchall()
        if len(found) > MOST_KEPT:
            _forget_cursor(connection)
        if self._out and found:
            columns: list[Any] = list(zip(*found, strict=True))
            for at, convert in self._out:
                columns[at] = map(convert, columns[at])
            found = zip(*columns, strict=True)
        return list(map(make, found))

    def moved(self, connection: Connection, given: Mapping[str, Any]) -> int:
        cursor = self._executed(connection, given)
        if self._returns:
            cursor.fetchall()  # SQLite counts rows once they are all returned
        return int(cursor.rowcount)

    def _executed(self, connection: Connection, given: Mapping[str, Any]) -> Any:
        """The driver's cursor."""
        named = {**self._whole, **given}
        for name, convert in self._into:
            named[name] = convert(named[name])
        cursor = said(connection, self._text, named if self._places is None else [named[name] for name in self._places])
        if self._returns is None:
            self._returns = cursor.description is not None
        return cursor

    def _described(self, columns: Sequence[Sequence[Any]], dialect: Dialect) -> Callable[[Sequence[Any]], Row[Any]]:
        """Of each column the driver tells its name and, where it knows it, a code of its type."""
        found = [
            _found(kind, dialect, column[1]) for kind, column in zip(self._types, columns, strict=bool(self._types))
        ]
        self._out = _known(dict(enumerate(found)))
        self._make = result_tuple([column[0] for column in columns])
        return self._make


def said(connection: Connection, text: str, params: Any = ()) -> Any:
    """Have the driver execute this text; the connection's one cursor, which has its result until the next. Raises what SQLAlchemy
    would raise."""
    cursor = connection.info.get(CURSOR)
    if cursor is None:
        below: Any = connection.connection.driver_connection
        cursor = connection.info[CURSOR] = below.cursor()
    try:
        _heard(connection, cursor, text, params)
    except connection.dialect.loaded_dbapi.Error as error:
        _forget_cursor(connection)
        raise _as_sqlalchemy_raises(error, connection, text) from error
    except BaseException:
        _forget_cursor(connection)
        raise
    return cursor


def _forget_cursor(connection: Connection) -> None:
    """A statement that is left unfinished would keep SQLite's transaction open, and a large result its memory."""
    connection.info.pop(CURSOR).close()


def _heard(connection: Connection, cursor: Any, text: str, params: Any) -> None:
    """Execute it, and tell those who listen for statements: they count, explain or rewrite them."""
    for hear in connection.dispatch.before_cursor_execute:
        text, params = hear(connection, cursor, text, params, None, False)
    cursor.execute(text, params)
    for hear in connection.dispatch.after_cursor_execute:
        hear(connection, cursor, text, params, None, False)


def _as_sqlalchemy_raises(error: Any, connection: Connection, text: str) -> BaseException:
    dialect = connection.dialect
    broken = dialect.is_disconnect(error, connection.connection, None)
    if broken:
        connection.invalidate(error)
    raised: BaseException = DBAPIError.instance(
        text,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=broken,
        dialect=dialect,
    )
    return raised


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
        self._of: WeakKeyDictionary[Executable, Ready | None] = WeakKeyDictionary()  # None: executed once so far

    def find(self, statement: Executable, given: Any, dialect: Dialect) -> Ready | None:
        """None: let SQLAlchemy execute it."""
        ready = self._of.get(statement)
        if ready is None:
            ready = Ready(statement, dialect) if statement in self._of else None
            self._of[statement] = ready
        return ready if ready and ready.fits and isinstance(given, dict) and ready.takes(given) else None
