"""How alembic runs the migrations: on the connection that `pipeline.store.migrate` gives it, in that one transaction.

Alembic executes this file itself, once per command; nothing else imports it.
"""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, text

from pipeline.store.tables import metadata
from pipeline.store.tables_common import RowId
from pipeline.store.types import Instant, Json

ADVISORY_LOCK = 8306_2014  # one upgrade at a time, over all processes
WAIT_FOR_UPGRADE = "60s"  # another process may be upgrading
LOCK_TIMEOUT = "5s"  # a table that is in use must not queue all its users behind us
STATEMENT_TIMEOUT = "300s"


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration is written in the database's types: ours may change, what was migrated stays."""
    if kind != "type":
        return False
    if isinstance(item, Instant):
        return "sa.BigInteger()"
    if isinstance(item, Json):
        return "sa.Text()"
    if item is RowId:
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    return False


def _guard(connection: Connection) -> None:
    """On PostgreSQL: wait for whoever is upgrading, then never wait long for a table nor work on one for ever."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_FOR_UPGRADE}'"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))


def _run(connection: Connection) -> None:
    _guard(connection)
    context.configure(
        connection=connection, target_metadata=metadata, render_item=_render, transactional_ddl=True, compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()


_run(context.config.attributes["connection"])
