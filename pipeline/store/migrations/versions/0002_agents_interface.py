"""What QueryOrders lists is found without reading every order an agent ever had."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name, columns, where in (
        (
            "orders_that_may_wait",
            ["agent", "created_at"],
            "closure IS NULL AND (frozen_fen > 0 OR fare_fen = 0)",
        ),
        (
            "orders_with_open_refund",
            ["agent", "refund_requested_at"],
            "refund_requested_at IS NOT NULL AND refund_closed_at IS NULL",
        ),
    ):
        op.create_index(
            name,
            "orders",
            columns,
            unique=False,
            postgresql_where=sa.text(where),
            sqlite_where=sa.text(where),
        )
