"""What orders are searched by, and the tickets that 12306 issued.

The orders that are there already get their columns from what AM said of them, a thousand at a time.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from pipeline.store.marks import appointment_words, mark
from pipeline.store.types import to_us

revision = "0008"
down_revision = "0007"

AT_ONCE = 1_000
COLUMNS = (
    ("ordered_at", sa.BigInteger()),
    ("train_no", sa.Text()),
    ("from_station", sa.Text()),
    ("to_station", sa.Text()),
    ("appointment", sa.Text()),
    ("contact_mark", sa.Integer()),
    ("phone_mark", sa.Integer()),
    ("insurance_mark", sa.Integer()),
)
INDEXES = (
    ("orders_closed", "orders", ["closure", "created_at", "order_no"], "closure IS NOT NULL"),
    ("purchases_by_reason", "purchases", ["reason", "order_no"], "reason IS NOT NULL"),
    ("purchases_failed_by_hold", "purchases", ["held_order_no"], "reason IS NOT NULL"),
)
NEXT = sa.text("SELECT order_no, details, tickets FROM orders WHERE order_no > :after ORDER BY order_no LIMIT :most")
FILL = sa.text(f"UPDATE orders SET {', '.join(f'{name} = :{name}' for name, _ in COLUMNS)} WHERE order_no = :order_no")  # noqa: S608 - names of columns
NUMBER = sa.text("INSERT INTO ticket_numbers (ticket_no, order_no) VALUES (:ticket_no, :order_no)")


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("orders", sa.Column(name, kind, nullable=True))
    op.add_column("attempts", sa.Column("tickets", sa.Text(), nullable=True))
    op.create_table(
        "ticket_numbers",
        sa.Column("ticket_no", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("ticket_no", "order_no", name=op.f("ticket_numbers_pkey")),
    )
    _fill(op.get_bind())
    op.create_index(
        "orders_by_time", "orders", ["created_at", "order_no", "agent", "departure_at", *(name for name, _ in COLUMNS)]
    )
    for name, table, columns, where in INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _fill(connection: sa.Connection) -> None:
    after = ""
    while rows := connection.execute(NEXT, {"after": after, "most": AT_ONCE}).all():
        found = [{"order_no": row.order_no, **_searched_by(json.loads(row.details))} for row in rows]
        connection.execute(FILL, found)
        numbers = [
            {"ticket_no": number, "order_no": row.order_no}
            for row in rows
            for number in sorted({ticket["ticket_no"] for ticket in json.loads(row.tickets or "[]")})
        ]
        if numbers:
            connection.execute(NUMBER, numbers)
        after = rows[-1].order_no


def _searched_by(details: dict[str, Any]) -> dict[str, Any]:
    contact, ordered_at = details.get("contact") or {}, details.get("ordered_at")
    return {
        "ordered_at": None if ordered_at is None else to_us(datetime.fromisoformat(ordered_at)),
        "train_no": details.get("train_no"),
        "from_station": details.get("from"),
        "to_station": details.get("to"),
        "appointment": appointment_words(details.get("appointment")),
        "contact_mark": mark(contact.get("name")),
        "phone_mark": mark(contact.get("phone")),
        "insurance_mark": mark(details.get("insurance_no")),
    }
