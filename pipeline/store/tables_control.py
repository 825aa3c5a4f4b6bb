"""How things run: worker incarnations, breakers, pauses, and single facts about this installation."""

from __future__ import annotations

from sqlalchemy import Column, PrimaryKeyConstraint, Table, Text

from pipeline.store.tables_common import metadata
from pipeline.store.types import Instant

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),  # an incarnation: a new one at every start
    Column("stage", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("alive_until", Instant, nullable=False),
    Column("closed_at", Instant),
)

breakers = Table(
    "breakers",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("open_since", Instant),
    Column("next_probe_at", Instant),
    Column("detail", Text),
)

paces = Table(
    "paces",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("next_slot_at", Instant, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    Column("scope", Text, nullable=False),  # stage | agent | account
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("scope", "name"),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
