"""The story of an order: what happened, when, by whom. Details hold identifiers and amounts, never a secret."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, insert, select

from pipeline.store.engine import Transaction
from pipeline.store.tables import audit_log, history
from pipeline.store.types import db_now

_add = insert(history).values(
    order_no=bindparam("o"),
    at=db_now(),
    what=bindparam("w"),
    detail=bindparam("d", type_=history.c.detail.type),
    actor=bindparam("a"),
)
_of_order = (
    select(history.c.at, history.c.what, history.c.detail, history.c.actor)
    .where(history.c.order_no == bindparam("o"))
    .order_by(history.c.id)
)
_latest = _of_order.order_by(None).order_by(history.c.id.desc()).limit(1)
_audit = insert(audit_log).values(
    at=db_now(),
    actor=bindparam("actor_"),
    action=bindparam("action_"),
    subject=bindparam("subject_"),
    detail=bindparam("detail_", type_=audit_log.c.detail.type),
)


def tell(tx: Transaction, order_no: str, what: str, actor: str, **detail: Any) -> None:
    """Add one line to an order's story. `what` is a static event name."""
    tx.run(_add, {"o": order_no, "w": what, "d": detail, "a": actor})


def story(tx: Transaction, order_no: str) -> list[dict[str, Any]]:
    """All lines of an order in time order."""
    return [dict(row._mapping) for row in tx.rows(_of_order, {"o": order_no})]  # noqa: SLF001 - SQLAlchemy's public name


def is_latest(tx: Transaction, order_no: str, what: str, actor: str, **detail: Any) -> bool:
    """Whether the order's story ends with this very line: what is repeated need not be told again."""
    row = tx.one(_latest, {"o": order_no})
    return row is not None and (row.what, row.actor, row.detail) == (what, actor, detail)


def audit(tx: Transaction, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Record what a person did."""
    tx.run(_audit, {"actor_": actor, "action_": action, "subject_": subject, "detail_": detail})
