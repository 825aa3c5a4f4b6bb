"""What all tables share: their metadata, and spellings that mean the same on PostgreSQL and SQLite."""

from __future__ import annotations

from typing import TypedDict

from sqlalchemy import BigInteger, Integer, MetaData, TextClause, text

# PostgreSQL's own names, given on both databases, so that a migration can name what it changes.
metadata = MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "uq": "%(table_name)s_%(column_0_N_name)s_key"},
)

# SQLite numbers rows by itself only for INTEGER; PostgreSQL gets an identity BIGINT.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class Where(TypedDict):
    postgresql_where: TextClause
    sqlite_where: TextClause


def where(predicate: str) -> Where:
    """The predicate of a partial index. It is literal, so that both planners can match it."""
    return {"postgresql_where": text(predicate), "sqlite_where": text(predicate)}
