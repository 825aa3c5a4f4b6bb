"""What the database server itself says: for `daifu doctor`."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text

from pipeline.store.engine import Transaction

_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "max_connections")


class Server(NamedTuple):
    """`unsafe`: settings under which a committed payment may be forgotten."""

    version: str
    unsafe: list[str]
    connections: int
    most_connections: int | None  # None: no limit (SQLite)


def server(tx: Transaction) -> Server:
    """Version, safety and connections."""
    if not tx.postgresql:
        version = str(tx.run(text("SELECT sqlite_version()")).scalar_one())
        full = tx.run(text("PRAGMA synchronous")).scalar_one() == 2
        return Server(f"SQLite {version}", [] if full else ["synchronous is not FULL"], 1, None)
    said = {name: str(tx.run(text(f"SHOW {name}")).scalar_one()) for name in _SETTINGS}
    off = [f"{name}=off" for name in ("fsync", "synchronous_commit", "full_page_writes") if said[name] == "off"]
    used = int(tx.run(text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")).scalar_one())
    return Server(f"PostgreSQL {said['server_version']}", off, used, int(said["max_connections"]))
