"""Which tables a database has, and which this version works with: asked at every start, so without alembic's library.

Expand and contract: a migration adds, and the code of the version before goes on working with the tables after it; so the tables
are brought forward first, then the processes, one by one. What takes something away, or makes it stricter, comes a version
later, and sets the row `oldest_code` of `meta` to the first revision whose code can live with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Select, Text, column, inspect, select, table

from pipeline.store import control
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


OLDEST_CODE: Final = "oldest_code"


def fits(store: Store) -> bool:
    """Whether this version may work with the database: its own tables, or newer ones that only have more. Raises
    StoreUnavailable."""
    stands_at = current(store)
    if stands_at is None or stands_at <= head():
        return stands_at == head()
    oldest = store.read(lambda tx: control.get_meta(tx, OLDEST_CODE))
    return oldest is not None and oldest <= head()
