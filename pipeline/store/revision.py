"""Which tables a database has, and which this version works with: asked at every start, so without alembic's library."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Select, Text, column, inspect, select, table

from pipeline.store.engine import Store

_VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
_TABLE: Final = "alembic_version"
_version: Final[Select[str]] = select(column("version_num", Text)).select_from(table(_TABLE))


def head() -> str:
    """The newest migration: their files begin with their numbers."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))


def current(store: Store) -> str | None:
    """The migration the database stands at; None before the first. Raises StoreUnavailable."""
    return store.read(
        lambda tx: tx.run(_version).scalar_one_or_none() if inspect(tx.connection).has_table(_TABLE) else None
    )
