"""What the audits of this database found."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, Table

from pipeline.store.tables_common import RowId, metadata
from pipeline.store.types import Instant, Json

audit_runs = Table(
    "audit_runs",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),  # when it began
    Column("ok", Boolean, nullable=False),
    Column("checked", Integer, nullable=False),  # invariants
    Column(
        "broken", Json, nullable=False
    ),  # [{invariant, orders, amount_fen, subjects}], orders and subjects cut short
    Column("took_s", Float, nullable=False),
)
