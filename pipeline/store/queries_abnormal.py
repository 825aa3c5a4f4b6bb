"""Purchases that ended 支付完成,出票异常 and wait for a person, with what somebody proposed for them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import and_, bindparam, select

from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.tables import attempts, orders, purchases, tasks

KIND = "close_abnormal"
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_submitted = and_(attempts.c.purchase_id == purchases.c.id, attempts.c.submitted_at.is_not(None))
_open = (
    select(
        tasks.c.id, tasks.c.order_no, purchases.c.reason, tasks.c.opened_at, tasks.c.taken_by, tasks.c.resolution,
        tasks.c.evidence, orders.c.agent, orders.c.fare_fen, purchases.c.generation, purchases.c.detail,
        purchases.c.login, purchases.c.held_order_no, attempts.c.amount_fen, attempts.c.debited_fen,
        attempts.c.trade_no, attempts.c.submitted_at,
    )
    .select_from(
        tasks.join(orders, orders.c.order_no == tasks.c.order_no)
        .outerjoin(purchases, _latest)
        .outerjoin(attempts, _submitted)
    )
    .where(tasks.c.kind == KIND, tasks.c.closed_at.is_(None))
)  # fmt: skip
_of_order = _open.where(tasks.c.order_no == bindparam("o")).order_by(tasks.c.id.desc()).limit(1)


def page_of_abnormal(tx: Transaction, cursor: str | None = None, limit: int = PAGE) -> Page:
    """The oldest first. Raises BadCursor."""
    rows, following = fetch(tx, _open, [tasks.c.opened_at, tasks.c.id], cursor, limit, descending=False)
    return Page([_shown(row) for row in rows], following)


def abnormal(tx: Transaction, order_no: str) -> Json | None:
    """The one of this order. None: nothing of it waits to be closed."""
    row = tx.one(_of_order, {"o": order_no})
    return None if row is None else _shown(row)


def _shown(row: Row[Any]) -> Json:
    return {
        "task": row.id,
        "order_no": row.order_no,
        "generation": row.generation,
        "agent": row.agent,
        "reason": row.reason,
        "detail": row.detail or "",
        "account": row.login,
        "held_order_no": row.held_order_no,
        "trade_no": row.trade_no,
        "fare_fen": row.fare_fen,
        "hold_fen": row.amount_fen,
        "debited_fen": row.debited_fen,
        "submitted_at": shown(row.submitted_at),
        "opened_at": shown(row.opened_at),
        "taken_by": row.taken_by,
        "proposal": _proposal(row),
    }


def _proposal(row: Row[Any]) -> Json | None:
    if not row.resolution:
        return None
    content = json.loads(row.resolution)
    names = {name: content[name] for name in ("by", "how", "debited_fen")}
    return names | {"evidence": row.evidence or ""}
