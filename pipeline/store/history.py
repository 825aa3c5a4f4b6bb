"""The story of an order: what happened, when, by whom. Details hold identifiers and amounts, never a secret."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select

from pipeline.store.engine import Transaction
from pipeline.store.rows import append_rows
from pipeline.store.tables import archived_stories, audit_log, history
from pipeline.store.types import db_now

_of_order = (
    select(history.c.at, history.c.what, history.c.detail, history.c.actor)
    .where(history.c.order_no == bindparam("o"))
    .order_by(history.c.id)
)
_archived = select(archived_stories.c.lines).where(archived_stories.c.order_no == bindparam("o"))
_latest = _of_order.order_by(None).order_by(history.c.id.desc()).limit(1)
_audit = insert(audit_log).values(
    at=db_now(),
    actor=bindparam("actor_"),
    action=bindparam("action_"),
    subject=bindparam("subject_"),
    detail=bindparam("detail_", type_=audit_log.c.detail.type),
    role=bindparam("role_"),
    origin=bindparam("origin_"),
    result=bindparam("result_"),
    reason=bindparam("reason_"),
)
_REASONS = ("reason", "evidence", "note", "why")  # what operations call the actor's own words


class Line(NamedTuple):
    """One line of an order's story. `what` is a static event name."""

    order_no: str
    what: str
    actor: str
    detail: dict[str, Any]


def tell_all(tx: Transaction, lines: Sequence[Line]) -> None:
    """Add lines to the stories of their orders, in this order."""
    rows = [
        {"order_no": each.order_no, "what": each.what, "actor": each.actor, "detail": each.detail} for each in lines
    ]
    append_rows(tx, history, rows, stamps=("at",))


def tell(tx: Transaction, order_no: str, what: str, actor: str, **detail: Any) -> None:
    """Add one line to an order's story."""
    tell_all(tx, [Line(order_no, what, actor, detail)])


def story(tx: Transaction, order_no: str) -> list[dict[str, Any]]:
    """All lines of an order in time order, the archived ones too."""
    return archived(tx, order_no) + [dict(row._mapping) for row in tx.rows(_of_order, {"o": order_no})]  # noqa: SLF001 - SQLAlchemy's public name


def archived(tx: Transaction, order_no: str) -> list[dict[str, Any]]:
    """The lines that `daifu archive` has moved away."""
    row = tx.one(_archived, {"o": order_no})
    return [] if row is None else [{**line, "at": datetime.fromisoformat(line["at"])} for line in row.lines]


def is_latest(tx: Transaction, order_no: str, what: str, actor: str, **detail: Any) -> bool:
    """Whether the order's story ends with this very line: what is repeated need not be told again."""
    row = tx.one(_latest, {"o": order_no})
    return row is not None and (row.what, row.actor, row.detail) == (what, actor, detail)


def audit(tx: Transaction, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Record what a person did; in which role and from where is the transaction's `presence`.

    `detail` may hold `result` (done unless given), `reason` in the actor's words, `before` and `after`.
    """
    presence = tx.presence
    values = {
        "actor_": actor,
        "action_": action,
        "subject_": subject,
        "detail_": detail,
        "role_": None if presence is None else presence.role,
        "origin_": None if presence is None else presence.origin,
        "result_": str(detail.get("result", "done")),
        "reason_": next((str(detail[name]) for name in _REASONS if detail.get(name)), None),
    }
    tx.run(_audit, values)
