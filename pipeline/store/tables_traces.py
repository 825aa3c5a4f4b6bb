"""Traces: a table of their own, so that a purchase costs nothing more while they are off."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from pipeline.store.tables_common import metadata
from pipeline.store.types import Instant

traces = Table(
    "traces",
    metadata,
    Column("purchase_id", Text, primary_key=True),
    Column("traceparent", Text, nullable=False),  # W3C Trace Context, of the purchase's first span
    Column("at", Instant, nullable=False),
)
Index("traces_by_time", traces.c.at)
