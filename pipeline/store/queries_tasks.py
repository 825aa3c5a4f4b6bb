"""Tasks as people read them: whose they are, how much money is in them, what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, String, and_, bindparam, case, cast, func, or_, select, text

from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.tables import NOT_PROVEN_UNPAID, attempts, bill_breaks, orders, railway_refunds, tasks
from pipeline.task_kinds import TaskKind, rule_of

NOBODY = "-"
IS_OPEN = text("tasks.closed_at IS NULL")  # literal: the predicate of its index
_live = and_(
    attempts.c.order_no == tasks.c.order_no,
    attempts.c.submitted_at.is_not(None),
    text(NOT_PROVEN_UNPAID.replace("proof", "attempts.proof")),
)
_refund = and_(
    railway_refunds.c.order_no == tasks.c.order_no,
    tasks.c.uid == tasks.c.order_no + ":refund:" + cast(railway_refunds.c.refund_id, String),
)
# What does not agree with a bill is what is only there or only here, or the difference.
_apart = func.abs(func.coalesce(bill_breaks.c.there_fen, 0) - func.coalesce(bill_breaks.c.here_fen, 0))
# What a 12306 refund is about is the refund; otherwise what was submitted, or what the user paid.
_amount = case(
    (tasks.c.kind == TaskKind.RAILWAY_REFUND.value, railway_refunds.c.amount_fen),
    (bill_breaks.c.id.is_not(None), _apart),
    else_=func.coalesce(attempts.c.amount_fen, orders.c.fare_fen),
).label("amount_fen")
_listing = select(tasks, orders.c.agent, bill_breaks.c.id.label("break_id"), _amount).select_from(
    tasks.outerjoin(orders, orders.c.order_no == tasks.c.order_no)
    .outerjoin(attempts, _live)
    .outerjoin(railway_refunds, _refund)
    .outerjoin(bill_breaks, bill_breaks.c.uid == tasks.c.uid)
)
_open_by_kind = (
    select(
        tasks.c.kind,
        func.count().label("n"),
        func.min(tasks.c.opened_at).label("oldest"),
        func.sum(case((tasks.c.taken_by.is_(None), 1), else_=0)).label("free"),
    )
    .where(IS_OPEN)
    .group_by(tasks.c.kind)
)
_one = _listing.where(tasks.c.id == bindparam("t"))


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """`owner`: an actor (`human:NAME`), or NOBODY for those that nobody has taken."""

    state: Literal["open", "closed", "all"] = "open"
    kind: str | None = None
    owner: str | None = None
    order_no: str | None = None


def page_of_tasks(tx: Transaction, wanted: TaskFilter, cursor: str | None = None, limit: int = PAGE) -> Page:
    """Open ones the oldest first, others the newest first. Raises BadCursor."""
    query = _filtered(wanted)
    if wanted.state == "open":
        rows, following = fetch(tx, query, [tasks.c.opened_at, tasks.c.id], cursor, limit, descending=False)
    else:
        rows, following = fetch(tx, query, [tasks.c.id], cursor, limit)
    return Page([_shown(row) for row in rows], following)


def list_tasks(tx: Transaction, wanted: TaskFilter | None = None) -> list[Json]:
    """All of them, oldest first."""
    query = _filtered(wanted or TaskFilter())
    return [_shown(row) for row in tx.rows(query.order_by(tasks.c.opened_at, tasks.c.id))]


def show_task(tx: Transaction, task_id: int) -> Json | None:
    """One task. None: unknown."""
    row = tx.one(_one, {"t": task_id})
    return None if row is None else _shown(row)


def open_by_kind(tx: Transaction) -> list[Json]:
    """Open tasks by kind: how many, how many of them nobody has taken, since when the oldest waits."""
    return [
        {
            "kind": row.kind,
            "words": rule_of(row.kind).words,
            "tasks": int(row.n),
            "free": int(row.free),
            "oldest_at": shown(row.oldest),
        }
        for row in tx.rows(_open_by_kind)
    ]


def _filtered(wanted: TaskFilter) -> Select[Any]:
    query: Select[Any] = _listing
    if wanted.state == "open":
        query = query.where(IS_OPEN)
    elif wanted.state == "closed":
        query = query.where(tasks.c.closed_at.is_not(None))
    if wanted.kind is not None:
        query = query.where(tasks.c.kind == wanted.kind)
    if wanted.order_no is not None:
        query = query.where(tasks.c.order_no == wanted.order_no)
    if wanted.owner == NOBODY:
        query = query.where(tasks.c.taken_by.is_(None))
    elif wanted.owner is not None:
        query = query.where(or_(tasks.c.taken_by == wanted.owner, tasks.c.closed_by == wanted.owner))
    return query


def _shown(row: Row[Any]) -> Json:
    rule = rule_of(row.kind)
    proposed = row.kind == TaskKind.CLOSE_ABNORMAL and row.closed_at is None  # there it is a proposal, for its own page
    return {
        "id": row.id,
        "kind": row.kind,
        "words": rule.words,
        "order_no": row.order_no,
        "agent": row.agent,
        "break_id": row.break_id,
        "amount_fen": row.amount_fen,
        "reason": row.reason,
        "next_step": rule.next_step,
        "by_itself": rule.by_itself,
        "opened_at": shown(row.opened_at),
        "taken_by": row.taken_by,
        "taken_at": shown(row.taken_at),
        "closed_by": row.closed_by,
        "closed_at": shown(row.closed_at),
        "resolution": None if proposed else row.resolution,
        "evidence": None if proposed else row.evidence,
    }
