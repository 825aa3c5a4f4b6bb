"""Indexes go that repeat what another one says: each costs an entry for every version of its rows.

An order's work rows are found by their keys, `order_no:generation:step`. An attempt's id is `purchase_id:n`, so its primary key
says already that no purchase has two of one number.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    with op.batch_alter_table("attempts") as attempts:
        attempts.drop_constraint("attempts_purchase_id_n_key", type_="unique")
    op.drop_index("work_by_order", "work")
