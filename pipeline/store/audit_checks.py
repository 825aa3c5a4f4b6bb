"""What an audit check is: a name, and a way to find what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select

from pipeline.store.engine import Transaction


@dataclass(frozen=True, slots=True)
class Hit:
    """One breach. `amount_fen` is what it is about, 0 where it is about no money."""

    subject: str
    order_no: str | None
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    find: Callable[[Transaction], list[Hit]]


def by_query(name: str, query: Select[Any]) -> Check:
    """A check whose query gives the breaches themselves: columns `subject`, `order_no`, `fen`."""

    def find(tx: Transaction) -> list[Hit]:
        return [Hit(str(row.subject), row.order_no, int(row.fen or 0)) for row in tx.rows(query)]

    return Check(name, find)
