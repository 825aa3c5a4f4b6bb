"""系统公告 written and withdrawn. A withdrawn one stays, for staff to see what was said."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, update

from pipeline.store.engine import Transaction
from pipeline.store.tables import announcements
from pipeline.store.types import db_now

_add = (
    insert(announcements)
    .values(title=bindparam("t"), text=bindparam("x"), published_at=db_now(), published_by=bindparam("p"))
    .returning(announcements.c.id)
)
_withdraw = (
    update(announcements)
    .where(announcements.c.id == bindparam("a"), announcements.c.withdrawn_at.is_(None))
    .values(withdrawn_at=db_now(), withdrawn_by=bindparam("p"))
)


def add(tx: Transaction, title: str, text: str, actor: str) -> int:
    """Everybody sees it from now on. Returns its id."""
    return int(tx.run(_add, {"t": title, "x": text, "p": actor}).scalar_one())


def withdraw(tx: Transaction, announcement_id: int, actor: str) -> bool:
    """False: there is none that could be withdrawn."""
    return tx.moved(_withdraw, {"a": announcement_id, "p": actor}) > 0
