"""The database's clock, read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from pipeline.store.engine import Transaction
from pipeline.store.types import db_now

_now = select(db_now())


def now(tx: Transaction) -> datetime:
    """The database's clock at this statement, aware UTC."""
    moment: datetime = tx.run(_now).scalar_one()
    return moment


def stamp(tx: Transaction) -> datetime:
    """The database's clock as this transaction first asked for it: for what is written down, never for a guard."""
    if tx.stamp is None:
        tx.stamp = now(tx)
    return tx.stamp
