"""Bills, their lines, and what does not agree, as people read them. Amounts are fen, times Asia/Shanghai in RFC 3339."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, bindparam, func, or_, select, text

from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.queries_tasks import IS_OPEN, NOBODY
from pipeline.store.tables import attempts, bill_breaks, bill_lines, bills, orders, purchases, tasks

_line = bill_lines.alias("line")
_breaks = select(
    bill_breaks,
    tasks.c.id.label("task_id"),
    tasks.c.reason,
    tasks.c.opened_at,
    tasks.c.taken_by,
    tasks.c.closed_by,
    tasks.c.closed_at,
    tasks.c.resolution,
    tasks.c.evidence,
    orders.c.agent,
    attempts.c.trade_no.label("our_trade_no"),
    attempts.c.held_order_no,
    attempts.c.submitted_at,
    _line.c.bill_id,
    _line.c.line_no,
    _line.c.kind.label("line_kind"),
    _line.c.trade_no,
    _line.c.alipay_no,
    _line.c.words,
    _line.c.at.label("line_at"),
).select_from(
    tasks.join(bill_breaks, bill_breaks.c.uid == tasks.c.uid)
    .outerjoin(orders, orders.c.order_no == bill_breaks.c.order_no)
    .outerjoin(attempts, attempts.c.id == bill_breaks.c.attempt_id)
    .outerjoin(_line, _line.c.id == bill_breaks.c.line_id)
)
_apart = func.abs(func.coalesce(bill_breaks.c.there_fen, 0) - func.coalesce(bill_breaks.c.here_fen, 0))
_by_kind = (
    select(
        bill_breaks.c.kind,
        func.count().label("n"),
        func.sum(_apart).label("fen"),
        func.min(tasks.c.opened_at).label("oldest"),
    )
    .select_from(
        tasks.join(bill_breaks, bill_breaks.c.uid == tasks.c.uid).outerjoin(
            orders, orders.c.order_no == bill_breaks.c.order_no
        )
    )
    .where(IS_OPEN)
    .group_by(bill_breaks.c.kind)
)
_counts = (
    select(
        bill_lines.c.bill_id,
        bill_lines.c.state,
        func.count().label("n"),
        func.sum(bill_lines.c.amount_fen).label("fen"),
    )
    .where(bill_lines.c.bill_id == bindparam("b"))
    .group_by(bill_lines.c.bill_id, bill_lines.c.state)
)
_in_flight = (
    select(
        attempts.c.id,
        attempts.c.order_no,
        attempts.c.held_order_no,
        attempts.c.trade_no,
        attempts.c.amount_fen,
        attempts.c.submitted_at,
        purchases.c.agent,
        purchases.c.state,
        bill_lines.c.id.label("line_id"),
    )
    .select_from(
        attempts.join(purchases, purchases.c.id == attempts.c.purchase_id).outerjoin(
            bill_lines, bill_lines.c.attempt_id == attempts.c.id
        )
    )
    .where(text("attempts.submitted_at IS NOT NULL AND attempts.concluded_at IS NULL"))  # as its index has it
)


@dataclass(frozen=True, slots=True)
class BreakFilter:
    """`owner`: an actor (`human:NAME`), or NOBODY. `agent`: of the order; a line without an order is no agent's."""

    state: Literal["open", "closed", "all"] = "open"
    kind: str | None = None
    owner: str | None = None
    agent: str | None = None
    order_no: str | None = None


def page_of_breaks(tx: Transaction, wanted: BreakFilter, cursor: str | None = None, limit: int = PAGE) -> Page:
    """Open ones the oldest first, others the newest first. Raises BadCursor."""
    query: Select[Any] = _breaks
    if wanted.state == "open":
        query = query.where(IS_OPEN)
    elif wanted.state == "closed":
        query = query.where(tasks.c.closed_at.is_not(None))
    if wanted.kind is not None:
        query = query.where(bill_breaks.c.kind == wanted.kind)
    if wanted.agent is not None:
        query = query.where(orders.c.agent == wanted.agent)
    if wanted.order_no is not None:
        query = query.where(bill_breaks.c.order_no == wanted.order_no)
    if wanted.owner == NOBODY:
        query = query.where(tasks.c.taken_by.is_(None))
    elif wanted.owner is not None:
        query = query.where(or_(tasks.c.taken_by == wanted.owner, tasks.c.closed_by == wanted.owner))
    keys = [tasks.c.opened_at, bill_breaks.c.id]
    rows, following = fetch(tx, query, keys, cursor, limit, descending=wanted.state != "open")
    return Page([_break(row) for row in rows], following)


def show_break(tx: Transaction, break_id: int) -> Json | None:
    """One break. None: unknown."""
    row = tx.one(_breaks.where(bill_breaks.c.id == break_id))
    return None if row is None else _break(row)


def open_breaks_by_kind(tx: Transaction, agent: str | None = None) -> list[Json]:
    """Open breaks by kind: how many, how much money is between both sides, since when the oldest waits."""
    query = _by_kind if agent is None else _by_kind.where(orders.c.agent == agent)
    return [
        {"kind": row.kind, "breaks": int(row.n), "amount_fen": int(row.fen), "oldest_at": shown(row.oldest)}
        for row in tx.rows(query)
    ]


def page_of_bills(tx: Transaction, cursor: str | None = None, limit: int = 20) -> Page:
    """Newest first. Raises BadCursor."""
    rows, following = fetch(tx, select(bills), [bills.c.id], cursor, limit)
    return Page([_bill(tx, row) for row in rows], following)


def show_bill(tx: Transaction, bill_id: int) -> Json | None:
    """One bill. None: unknown."""
    row = tx.one(select(bills).where(bills.c.id == bill_id))
    return None if row is None else _bill(tx, row)


def page_of_lines(
    tx: Transaction, bill_id: int, state: str | None, cursor: str | None = None, limit: int = PAGE
) -> Page:
    """The lines that this bill was the first to have, in its order. Raises BadCursor."""
    query = select(bill_lines, bill_breaks.c.id.label("break_id")).select_from(
        bill_lines.outerjoin(bill_breaks, bill_breaks.c.uid == "break:line:" + bill_lines.c.uid)
    )
    query = query.where(bill_lines.c.bill_id == bill_id)
    if state is not None:
        query = query.where(bill_lines.c.state == state)
    rows, following = fetch(tx, query, [bill_lines.c.id], cursor, limit, descending=False)
    return Page([_shown_line(row) for row in rows], following)


def oldest_in_flight(tx: Transaction, agent: str | None = None, limit: int = PAGE) -> list[Json]:
    """The payments whose outcome is not known for longest. `on_bill`: a bill shows that money moved."""
    query = _in_flight if agent is None else _in_flight.where(purchases.c.agent == agent)
    return [
        {
            "order_no": row.order_no,
            "agent": row.agent,
            "state": row.state,
            "held_order_no": row.held_order_no,
            "trade_no": row.trade_no,
            "amount_fen": row.amount_fen,
            "submitted_at": shown(row.submitted_at),
            "on_bill": row.line_id is not None,
        }
        for row in tx.rows(query.order_by(attempts.c.submitted_at).limit(limit))
    ]


def _break(row: Row[Any]) -> Json:
    there = None
    if row.line_id is not None:
        there = {
            "bill_id": row.bill_id,
            "line_no": row.line_no,
            "kind": row.line_kind,
            "at": shown(row.line_at),
            "trade_no": row.trade_no,
            "alipay_no": row.alipay_no,
            "words": row.words,
        }
    return {
        "id": row.id,
        "kind": row.kind,
        "task_id": row.task_id,
        "order_no": row.order_no,
        "agent": row.agent,
        "refund_id": row.refund_id,
        "trade_no": row.our_trade_no,
        "held_order_no": row.held_order_no,
        "submitted_at": shown(row.submitted_at),
        "here_fen": row.here_fen,
        "there_fen": row.there_fen,
        "line": there,
        "moved_at": shown(row.moved_at),
        "reason": row.reason,
        "note": row.note,
        "opened_at": shown(row.opened_at),
        "taken_by": row.taken_by,
        "closed_by": row.closed_by,
        "closed_at": shown(row.closed_at),
        "resolution": row.resolution,
        "evidence": row.evidence,
    }


def _bill(tx: Transaction, row: Row[Any]) -> Json:
    counts = {one.state: int(one.n) for one in tx.rows(_counts, {"b": row.id})}
    names = ("matched", "in_flight", "differs", "unmatched", "other")
    return {
        "id": row.id,
        "name": row.name,
        "layout": row.layout,
        "account": row.account,
        "begins_at": shown(row.begins_at),
        "ends_at": shown(row.ends_at),
        "lines": row.lines,
        "paid_fen": row.paid_fen,
        "refund_fen": row.refund_fen,
        "known_before": row.lines - sum(counts.values()),
        **{name: counts.get(name, 0) for name in names},
        "uploaded_at": shown(row.uploaded_at),
        "uploaded_by": row.uploaded_by,
        "compared_at": shown(row.compared_at),
    }


def _shown_line(row: Row[Any]) -> Json:
    return {
        "line_no": row.line_no,
        "at": shown(row.at),
        "kind": row.kind,
        "amount_fen": row.amount_fen,
        "alipay_no": row.alipay_no,
        "trade_no": row.trade_no,
        "words": row.words,
        "state": row.state,
        "order_no": row.order_no,
        "break_id": row.break_id,
    }
