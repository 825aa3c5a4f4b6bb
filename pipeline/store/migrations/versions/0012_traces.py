"""The trace of each purchase, where traces are on; otherwise the table stays empty."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("purchase_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("purchase_id", name="traces_pkey"),
    )
    op.create_index("traces_by_time", "traces", ["at"], unique=False)
