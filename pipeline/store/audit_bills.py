"""Invariants of reconciliation: what counts as agreeing with a bill does, and what does not is in a person's hands."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, literal, or_, select

from pipeline.ledger import Account, Kind
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over
from pipeline.store.tables import (
    bill_breaks,
    bill_lines,
    bills,
    ledger_entries,
    ledger_postings,
    railway_refunds,
    tasks,
)

L = bill_lines.c


def _was_compared() -> ColumnElement[bool]:
    """The bill's upload came to its end: until then a line may not have had its turn."""
    return exists(select(bills.c.id).where(bills.c.id == L.bill_id, bills.c.compared_at.is_not(None)))


@over(Scope.BILL_LINES, Severity.MONEY, "R03")
def a_matched_line_is_what_was_posted(span: Span) -> Select[Any]:
    """A bill's line that counts as matched is a payment that was posted, or a refund that AM told of, of the same amount.

    Broken: a difference to the bill is shown as none.
    Do: compare the line with `daifu orders show` and 12306; correct by a posting, then upload the bill again.
    """
    paid = exists(
        select(ledger_entries.c.id).where(
            ledger_entries.c.posting_key == literal("resolve:") + L.attempt_id,
            ledger_entries.c.account == Account.RAILWAY.value,
            ledger_entries.c.amount_fen == L.amount_fen,
        )
    )
    refunded = exists(
        select(railway_refunds.c.refund_id).where(
            railway_refunds.c.order_no == L.order_no,
            railway_refunds.c.refund_id == L.refund_id,
            railway_refunds.c.amount_fen == L.amount_fen,
        )
    )
    return breaches(L.uid, L.order_no, L.amount_fen).where(
        span.of(L.id),
        L.state == "matched",
        or_(and_(L.kind == "pay", ~paid), and_(L.kind == "refund", ~refunded), L.kind == "other"),
    )


@over(Scope.BILL_LINES, Severity.ORDER, "R01")
def a_line_that_does_not_agree_has_its_task(span: Span) -> Select[Any]:
    """A bill's line that was compared and does not agree has its break, and the break its task: also the payment that was in flight
    when the bill came, and was called unpaid since.

    Broken: money moved that our books do not explain, and nobody looks into it.
    Do: `daifu reconcile --again`.
    """
    its_task = exists(
        select(tasks.c.id)
        .select_from(bill_breaks.join(tasks, tasks.c.uid == bill_breaks.c.uid))
        .where(
            bill_breaks.c.line_id == L.id,
            or_(tasks.c.closed_at.is_(None), and_(tasks.c.closed_by.is_not(None), tasks.c.resolution != "matched")),
        )
    )
    voided = exists(
        select(ledger_postings.c.id).where(
            ledger_postings.c.key == literal("resolve:") + L.attempt_id, ledger_postings.c.kind == Kind.VOID.value
        )
    )
    wrong = or_(
        L.state == "differs", and_(L.state == "unmatched", _was_compared()), and_(L.state == "in_flight", voided)
    )
    return breaches(L.uid, L.order_no, L.amount_fen).where(span.of(L.id), wrong, ~its_task)


INVARIANTS: tuple[Invariant, ...] = (a_matched_line_is_what_was_posted, a_line_that_does_not_agree_has_its_task)
