"""Outcomes per hour are found by an index, however many purchases there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    predicate = sa.text("concluded_at IS NOT NULL")
    op.create_index(
        "purchases_concluded",
        "purchases",
        ["concluded_at"],
        unique=False,
        postgresql_where=predicate,
        sqlite_where=predicate,
    )
