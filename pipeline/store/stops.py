"""What a pause closes and a resume wakes: the open attempts and the work of a stage, an agent or a 12306 account."""

from __future__ import annotations

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.elements import BindParameter

from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts, purchases, work
from pipeline.store.types import db_now

_of_attempt = purchases.c.id == attempts.c.purchase_id
_OF_WORK = (purchases.c.order_no == work.c.order_no) & (purchases.c.generation == work.c.generation)
_name: BindParameter[str] = bindparam("name_")


def _touches(scope: str, link: ColumnElement[bool]) -> ColumnElement[bool]:
    column = purchases.c.agent if scope == "agent" else purchases.c.login
    return exists(select(purchases.c.id).where(link, column == _name))


_close = (
    update(attempts)
    .where(attempts.c.concluded_at.is_(None), attempts.c.submitted_at.is_(None))
    .values(concluded_at=db_now(), end_detail="paused")
)
_close_of = {scope: _close.where(_touches(scope, _of_attempt)) for scope in ("agent", "account")}
_wake_of = {
    scope: update(work)
    .where(work.c.lease_owner.is_(None), work.c.due_at <= db_now(), _touches(scope, _OF_WORK))
    .values(wake_at=db_now(), wakes=0)
    for scope in ("agent", "account")
}


def close_all(tx: Transaction) -> int:
    """Close every attempt without an intent: exactly one of this and the intent wins, on the attempt's row."""
    return tx.moved(_close)


def close_of(tx: Transaction, scope: str, name: str) -> int:
    """The same for one `agent` or 12306 `account`."""
    return tx.moved(_close_of[scope], {"name_": name})


def wake_of(tx: Transaction, scope: str, name: str) -> int:
    """A pause of an `agent` or `account` ended: its unclaimed rows get their wake-up anew."""
    return tx.moved(_wake_of[scope], {"name_": name})
