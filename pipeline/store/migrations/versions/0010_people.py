"""Sub-accounts of agents, announcements, and which 12306 accounts an agent has used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("sub", sa.Boolean(), server_default=sa.text("false"), nullable=False))
        users.create_check_constraint("users_sub_accounts_are_agents", "role = 'agent' OR NOT sub")
    op.create_table(
        "announcements",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("announcements_pkey")),
    )
    op.create_index("purchases_by_account", "purchases", ["agent", "login"], unique=False)
