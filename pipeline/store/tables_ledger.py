"""The ledger: postings, their entries, and the running balances of guarded accounts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pipeline.store.tables_common import RowId, metadata
from pipeline.store.types import Instant

ledger_postings = Table(
    "ledger_postings",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("order_no", Text),
    Column("attempt_id", Text),
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("at", Instant, nullable=False),
)
Index("ledger_postings_by_order", ledger_postings.c.order_no)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("posting_key", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("at", Instant, nullable=False, server_default=text("0")),  # its posting's
    UniqueConstraint("posting_key", "account"),
    CheckConstraint("amount_fen <> 0", name="ledger_entries_move_something"),
)
# A balance at any moment is a sum that this index alone answers; no row is kept for it that all postings would meet in.
Index(
    "ledger_entries_in_time",
    ledger_entries.c.agent,
    ledger_entries.c.account,
    ledger_entries.c.at,
    ledger_entries.c.id,
    ledger_entries.c.amount_fen,
)

ledger_balances = Table(
    "ledger_balances",
    metadata,
    Column("agent", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("balance_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("agent", "account"),
    CheckConstraint("balance_fen >= 0", name="ledger_balances_never_negative"),
)
