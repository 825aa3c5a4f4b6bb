"""Bringing a database to the tables this version works with: `daifu db upgrade`, and `daifu up` by itself.

An upgrade is one transaction on both databases: it is done, or nothing of it is. Processes that start together wait for
each other (an advisory lock on PostgreSQL, the writer lock on SQLite).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from pipeline.clock import WallClock
from pipeline.errors import DaifuError
from pipeline.store.engine import open_store

MIGRATIONS = Path(__file__).parent / "migrations"

T = TypeVar("T")


class UnknownRevision(DaifuError):
    """The database was upgraded by a newer version of daifu than this one."""


def upgrade(url: str) -> str:
    """Create or change the tables at `url`; the revision it has then. Doing it twice is doing it once.

    Raises UnsafeDatabase, StoreUnavailable (also when a table stayed locked for too long: try again), UnknownRevision.
    """

    def run(connection: Connection) -> str:
        stands_at = _revision(connection)
        try:
            command.upgrade(config(connection), "head")
        except CommandError as error:
            raise UnknownRevision(
                f"the database stands at {stands_at}, which this version of daifu does not know"
            ) from error
        return head()

    return _with(url, run)


def current(url: str) -> str | None:
    """The revision the database stands at, None before the first upgrade. Raises UnsafeDatabase, StoreUnavailable."""
    return _with(url, _revision)


def head() -> str:
    """The revision that this version of daifu works with."""
    revision = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert revision is not None, "the first migration is part of the package"  # noqa: S101 - a broken installation
    return revision


def config(connection: Connection) -> Config:
    """Alembic's configuration for a command on this connection, inside its transaction."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _with(url: str, work: Callable[[Connection], T]) -> T:
    store = open_store(url, WallClock())
    try:
        return store.write(lambda tx: work(tx.connection)).value
    finally:
        store.close()
