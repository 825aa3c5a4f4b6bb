"""The database's clock, read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from pipeline.store.engine import Transaction
from pipeline.store.types import db_now

_now = select(db_now())


def now(tx: Transaction) -> datetime:
    """The database's clock at this statement, aware UTC."""
    ((moment,),) = tx.rows(_now)
    return moment  # type: ignore[no-any-return] # a column of instants


def stamp(tx: Transaction) -> datetime:
    """The database's clock as this transaction first asked for it: for what is written down, never for a guard."""
    if tx.stamp is None:
        tx.stamp = now(tx)
    return tx.stamp


def stamped(tx: Transaction, moment: datetime) -> None:
    """A statement of this transaction has returned the database's clock: `stamp` need not ask."""
    if tx.stamp is None:
        tx.stamp = moment
