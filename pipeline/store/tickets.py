"""The tickets that an agent's CONFIRM names: kept with the order, and found by their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.store.engine import Transaction
from pipeline.store.orders import update_order
from pipeline.store.rows import insert_rows
from pipeline.store.tables import ticket_numbers


def keep(tx: Transaction, order_no: str, tickets: Sequence[Mapping[str, Any]] | None) -> None:
    """In place of those that were kept before; the order stays found by the numbers it once had."""
    update_order(tx, order_no, tickets=tickets)
    numbers = sorted({ticket["ticket_no"] for ticket in tickets or ()})
    insert_rows(tx, ticket_numbers, [{"ticket_no": number, "order_no": order_no} for number in numbers], ignore=True)
