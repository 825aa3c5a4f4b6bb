"""What every batch and every round of the relay asks for is found by an index, and rows that change often stay where they are.

A row version is written to every index again when an indexed column changes, also one in the predicate of a partial index, or
when its page is full. So predicates name columns that change once, and pages of tables that change often are left half empty.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NEW = (
    ("purchases_to_stop", "purchases", ["stop_at"], "intent_at IS NULL AND concluded_at IS NULL"),
    ("attempts_in_doubt", "attempts", ["submitted_at"], "submitted_at IS NOT NULL AND concluded_at IS NULL"),
    ("attempts_by_order", "attempts", ["order_no"], None),
    ("callbacks_pending", "callbacks", ["order_no"], "state = 'pending'"),
    ("dead_letters_open", "dead_letters", ["deadline", "id"], "state = 'open'"),
    ("dead_letters_by_order", "dead_letters", ["order_no"], None),
    ("requests_kept", "requests", ["order_no"], "payload IS NOT NULL"),
    ("tasks_by_order", "tasks", ["order_no"], None),
    ("tasks_open", "tasks", ["opened_at", "id"], "closed_at IS NULL"),
)
FILL = {"orders": 70, "purchases": 60, "attempts": 60, "callbacks": 70, "railway_accounts": 50, "ledger_balances": 10}
# Thousands of work rows live at a time and hundreds come and go in a second: their dead must not pile up.
CHURN = ("work", "ledger_balances", "railway_accounts")


def upgrade() -> None:
    for name in ("purchases_to_stop", "purchases_in_doubt"):
        op.drop_index(name, "purchases")
    for name, table, columns, where in NEW:
        predicate = {} if where is None else {"postgresql_where": sa.text(where), "sqlite_where": sa.text(where)}
        op.create_index(name, table, columns, unique=False, **predicate)  # type: ignore[arg-type] # texts by name
    if op.get_context().dialect.name != "postgresql":
        return
    for table, percent in FILL.items():
        op.execute(sa.text(f"ALTER TABLE {table} SET (fillfactor = {percent})"))
    for table in CHURN:
        settings = "autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000"
        op.execute(sa.text(f"ALTER TABLE {table} SET ({settings}, autovacuum_analyze_scale_factor = 0.5)"))
