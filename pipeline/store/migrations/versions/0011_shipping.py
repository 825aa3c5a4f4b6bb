"""Orders know when their personal data was erased, stories can be archived; the database says which code it still works with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("orders", sa.Column("erased_at", sa.BigInteger(), nullable=True))
    predicate = sa.text("erased_at IS NULL")
    op.create_index(
        "orders_to_erase",
        "orders",
        ["created_at"],
        unique=False,
        postgresql_where=predicate,
        sqlite_where=predicate,
    )
    op.create_table(
        "archived_stories",
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("order_no", name=op.f("archived_stories_pkey")),
    )
    # From here on a migration that takes something away or makes it stricter says so in this row (pipeline/store/revision.py).
    meta = sa.table("meta", sa.column("name", sa.Text), sa.column("value", sa.Text))
    op.execute(meta.insert().values(name="oldest_code", value=revision))
