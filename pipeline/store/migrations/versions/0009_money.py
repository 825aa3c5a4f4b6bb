"""Balances at any moment, reports by the day of the payment, and Alipay bills with what does not agree."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("ledger_entries", sa.Column("at", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.execute(
        "UPDATE ledger_entries SET at = (SELECT p.at FROM ledger_postings p WHERE p.key = ledger_entries.posting_key)"
        " WHERE EXISTS (SELECT 1 FROM ledger_postings p WHERE p.key = ledger_entries.posting_key)"
    )
    in_time = ["agent", "account", "at", "id", "amount_fen"]
    op.create_index("ledger_entries_in_time", "ledger_entries", in_time, unique=False)
    partial("attempts_submitted", "attempts", ["submitted_at", "id"], "submitted_at IS NOT NULL")
    partial("attempts_by_trade", "attempts", ["trade_no"], "trade_no IS NOT NULL")
    op.create_index("railway_refunds_in_time", "railway_refunds", ["at"], unique=False)
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("order_no", existing_type=sa.Text(), nullable=True)
    bills()


def bills() -> None:
    op.create_table(
        "bills",
        sa.Column("id", row_id(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("layout", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("begins_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("paid_fen", sa.BigInteger(), nullable=False),
        sa.Column("refund_fen", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_at", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_by", sa.Text(), nullable=False),
        sa.Column("compared_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("bills_pkey")),
        sa.UniqueConstraint("digest", name=op.f("bills_digest_key")),
    )
    op.create_index("bills_in_time", "bills", ["account", "ends_at"], unique=False)
    op.create_table(
        "bill_lines",
        sa.Column("id", row_id(), autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("bill_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("alipay_no", sa.Text(), nullable=False),
        sa.Column("trade_no", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("refund_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("bill_lines_pkey")),
        sa.UniqueConstraint("uid", name=op.f("bill_lines_uid_key")),
    )
    op.create_index("bill_lines_by_bill", "bill_lines", ["bill_id", "id"], unique=False)
    op.create_index("bill_lines_by_alipay", "bill_lines", ["alipay_no"], unique=False)
    partial("bill_lines_unsettled", "bill_lines", ["id"], "state IN ('in_flight','differs','unmatched')")
    partial("bill_lines_one_per_attempt", "bill_lines", ["attempt_id"], "attempt_id IS NOT NULL", unique=True)
    of_refund = ["order_no", "refund_id"]
    partial("bill_lines_one_per_refund", "bill_lines", of_refund, "refund_id IS NOT NULL", unique=True)
    op.create_table(
        "bill_breaks",
        sa.Column("id", row_id(), autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("line_id", sa.BigInteger(), nullable=True),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("refund_id", sa.Text(), nullable=True),
        sa.Column("here_fen", sa.BigInteger(), nullable=True),
        sa.Column("there_fen", sa.BigInteger(), nullable=True),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("bill_breaks_pkey")),
        sa.UniqueConstraint("uid", name=op.f("bill_breaks_uid_key")),
    )


def partial(name: str, table: str, columns: list[str], predicate: str, *, unique: bool = False) -> None:
    where = sa.text(predicate)
    op.create_index(name, table, columns, unique=unique, postgresql_where=where, sqlite_where=where)
