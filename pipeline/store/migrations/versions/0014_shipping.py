"""Orders know when their personal data was erased; the database says which code may still work with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0007"


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
    # From here on a migration that takes something away or makes it stricter says so in this row (pipeline/store/revision.py).
    meta = sa.table("meta", sa.column("name", sa.Text), sa.column("value", sa.Text))
    op.execute(meta.insert().values(name="oldest_code", value=revision))
