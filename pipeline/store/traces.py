"""Which trace a purchase belongs to. Only who makes traces reads or writes here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select

from pipeline.store.engine import Row, Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import orders, purchases
from pipeline.store.tables_traces import traces
from pipeline.store.types import db_now, one_of, seconds_us

_of = select(traces.c.purchase_id, traces.c.traceparent).where(one_of(traces.c.purchase_id))
_purchases = select(
    purchases.c.id, purchases.c.order_no, purchases.c.generation, purchases.c.origin, purchases.c.accepted_at
).where(one_of(purchases.c.id))
_latest = select(orders.c.order_no, orders.c.generation).where(one_of(orders.c.order_no), orders.c.generation > 0)
_forget = delete(traces).where(traces.c.at < db_now() - bindparam("old_us"))


def of(tx: Transaction, purchase_ids: Iterable[str]) -> dict[str, str]:
    """The traceparent of each purchase that has one."""
    return {row.purchase_id: row.traceparent for row in tx.rows(_of, {"keys": list(purchase_ids)})}


def purchases_of(tx: Transaction, purchase_ids: Iterable[str]) -> list[Row[Any]]:
    """What a trace's first span says of these purchases: id, order_no, generation, origin, accepted_at."""
    return tx.rows(_purchases, {"keys": list(purchase_ids)})


def latest_of(tx: Transaction, order_nos: Iterable[str]) -> dict[str, str]:
    """The latest purchase of each order that has any, by order number."""
    rows = tx.rows(_latest, {"keys": list(order_nos)})
    return {row.order_no: f"{row.order_no}:{row.generation}" for row in rows}


def begin(tx: Transaction, traceparents: Sequence[tuple[str, str]]) -> set[str]:
    """Keep (purchase id, traceparent) where there is none yet; the purchases whose trace begins with these."""
    rows = [{"purchase_id": purchase_id, "traceparent": traceparent} for purchase_id, traceparent in traceparents]
    return insert_new(tx, traces, rows, traces.c.purchase_id, stamps=("at",))


def forget(tx: Transaction, older_than_s: float) -> None:
    tx.run(_forget, {"old_us": seconds_us(older_than_s)})
