"""The relay audits the live database, and what it found is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "audit_runs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("checked", sa.Integer(), nullable=False),
        sa.Column("broken", sa.Text(), nullable=False),
        sa.Column("took_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_runs_pkey")),
    )
