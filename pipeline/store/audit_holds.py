"""Invariants of the money in flight: held with the intent, resolved once, as it was proven."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, exists, func, or_, select

from pipeline.ledger import Account, Kind
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over
from pipeline.store.audit_money import sum_of
from pipeline.store.tables import attempts, ledger_entries, ledger_postings, purchases

P, E, A = ledger_postings.c, ledger_entries.c, attempts.c
_with_entries = ledger_postings.join(ledger_entries, E.posting_key == P.key)
# By one column: PostgreSQL takes a second one, which says the same, for another filter, and thinks that one row is left.
_with_purchases = purchases.join(attempts, A.purchase_id == purchases.c.id)
_RESOLVED = (Kind.POST.value, Kind.VOID.value)
PROVEN_UNPAID = ("refused", "not_sent", "no_payment")


def _by_attempt(span: Span, kinds: tuple[str, ...], **columns: ColumnElement[Any]) -> Subquery:
    labels = [column.label(name) for name, column in columns.items()]
    return (
        select(P.attempt_id, *labels)
        .select_from(_with_entries)
        .where(span.of(P.order_no), P.kind.in_(kinds))
        .group_by(P.attempt_id)
        .subquery()
    )


@over(Scope.ORDERS, Severity.MONEY, "L13")
def in_flight_is_what_is_open(span: Span) -> Select[Any]:
    """What is in flight for an order is what was submitted for it and is neither posted nor void.

    Broken: money whose fate is open is not shown as such, or money that is accounted for still is.
    Do: pause payment for the agent; see which of the order's holds has no resolution, or one too many.
    """
    flying = (
        select(P.order_no, sum_of(Account.IN_FLIGHT).label("fen"))
        .select_from(_with_entries)
        .where(span.of(P.order_no))
        .group_by(P.order_no)
        .subquery()
    )
    resolved = exists(select(P.id).where(P.order_no == A.order_no, P.attempt_id == A.id, P.kind.in_(_RESOLVED)))
    submitted = (
        select(A.order_no, func.sum(A.amount_fen).label("fen"))
        .where(span.of(A.order_no), A.submitted_at.is_not(None), ~resolved)
        .group_by(A.order_no)
        .subquery()
    )
    owners = select(purchases.c.order_no).where(span.of(purchases.c.order_no)).distinct().subquery()
    difference = func.coalesce(flying.c.fen, 0) - func.coalesce(submitted.c.fen, 0)
    joined = owners.outerjoin(flying, flying.c.order_no == owners.c.order_no).outerjoin(
        submitted, submitted.c.order_no == owners.c.order_no
    )
    return breaches(owners.c.order_no, owners.c.order_no, difference).select_from(joined).where(difference != 0)


@over(Scope.ORDERS, Severity.MONEY, "L13 P04")
def every_intent_has_its_hold(span: Span) -> Select[Any]:
    """Every submitted attempt has its ledger hold, of the pay form's amount.

    Broken: a payment was submitted that the procurement fund does not know of.
    Do: pause payment for the agent; it could spend money twice.
    """
    held = _by_attempt(span, (Kind.HOLD.value,), fen=sum_of(Account.IN_FLIGHT))
    fen = func.coalesce(held.c.fen, 0)
    return (
        breaches(A.id, A.order_no, A.amount_fen - fen)
        .select_from(attempts.outerjoin(held, held.c.attempt_id == A.id))
        .where(span.of(A.order_no), A.submitted_at.is_not(None), fen != A.amount_fen)
    )


@over(Scope.ORDERS, Severity.MONEY, "L13")
def every_hold_has_its_intent(span: Span) -> Select[Any]:
    """A ledger hold stands only beside an attempt that was submitted: both are one commit.

    Broken: money is set aside for a payment that was never made.
    Do: void the hold with a posting that names it, once it is sure that nothing was sent.
    """
    held = _by_attempt(span, (Kind.HOLD.value,), order_no=func.max(P.order_no), fen=sum_of(Account.IN_FLIGHT))
    return (
        breaches(held.c.attempt_id, held.c.order_no, held.c.fen)
        .select_from(held.outerjoin(attempts, A.id == held.c.attempt_id))
        .where(or_(A.id.is_(None), A.submitted_at.is_(None)))
    )


@over(Scope.ORDERS, Severity.MONEY, "L14")
def holds_are_resolved_once(span: Span) -> Select[Any]:
    """A hold is posted or voided, never both, never twice.

    Broken: the procurement fund was charged twice, or not at all.
    Do: correct by a posting that names the wrong one.
    """
    return (
        breaches(P.attempt_id, func.max(P.order_no), func.count())
        .where(span.of(P.order_no), P.kind.in_(_RESOLVED))
        .group_by(P.attempt_id)
        .having(func.count() > 1)
    )


@over(Scope.ORDERS, Severity.MONEY, "L14 P09")
def holds_are_resolved_as_proven(span: Span) -> Select[Any]:
    """Proven unpaid is void; settled or refunded is posted; without proof neither.

    Broken: the ledger says another thing about the money than what was proven.
    Do: see the attempt's proof in `daifu orders show`; correct by a posting.
    """
    resolved = _by_attempt(span, _RESOLVED, kind=func.max(P.kind))
    kind = func.coalesce(resolved.c.kind, "")
    unpaid = A.proof.in_(PROVEN_UNPAID)
    return (
        breaches(A.id, A.order_no, A.amount_fen)
        .select_from(_with_purchases.outerjoin(resolved, resolved.c.attempt_id == A.id))
        .where(
            span.of(purchases.c.order_no),
            span.of(A.order_no),
            A.submitted_at.is_not(None),
            or_(
                and_(unpaid, kind != Kind.VOID.value),
                and_(A.proof == "paid", kind == Kind.VOID.value),
                and_(purchases.c.state.in_(("settled", "refunded")), kind != Kind.POST.value),
                and_(purchases.c.state == "never_debited", kind != Kind.VOID.value),
                and_(A.proof.is_(None), kind != ""),
            ),
        )
    )


@over(Scope.ORDERS, Severity.MONEY, "L15 P07")
def posted_is_what_was_debited(span: Span) -> Select[Any]:
    """What was posted to 12306 for an attempt is what was debited, and nothing where nothing was.

    Broken: the procurement fund was charged another amount than the cashier took.
    Do: compare with the Alipay bill; post the difference.
    """
    resolved = _by_attempt(span, _RESOLVED, fen=sum_of(Account.RAILWAY))
    debited = case((A.proof.is_(None), 0), else_=func.coalesce(A.debited_fen, 0))
    return (
        breaches(A.id, A.order_no, resolved.c.fen - debited)
        .select_from(attempts.join(resolved, resolved.c.attempt_id == A.id))
        .where(span.of(A.order_no), resolved.c.fen != debited)
    )


@over(Scope.ORDERS, Severity.MONEY, "L15 P07")
def what_was_found_paid_is_booked(span: Span) -> Select[Any]:
    """A payment is booked without a hold exactly where a person closed a purchase that had submitted nothing as paid: as much
    as was debited.

    Broken: the procurement fund was charged for no payment, or a payment that a person found was not charged to it.
    Do: compare with the evidence in the audit log; post the difference.
    """
    found = (
        select(P.order_no, sum_of(Account.RAILWAY, P.kind == Kind.FOUND_PAYMENT.value).label("fen"))
        .select_from(_with_entries)
        .where(span.of(P.order_no))
        .group_by(P.order_no)
        .subquery()
    )
    u = purchases.c
    closed_paid = and_(u.intent_at.is_(None), u.state.in_(("purchased", "settled", "refunded")))
    closed = (
        select(u.order_no, func.sum(case((closed_paid, u.paid_fen), else_=0)).label("fen"))
        .where(span.of(u.order_no))
        .group_by(u.order_no)
        .subquery()
    )
    fen = func.coalesce(found.c.fen, 0)
    return (
        breaches(closed.c.order_no, closed.c.order_no, fen - closed.c.fen)
        .select_from(closed.outerjoin(found, found.c.order_no == closed.c.order_no))
        .where(fen != closed.c.fen)
    )


INVARIANTS: tuple[Invariant, ...] = (
    in_flight_is_what_is_open,
    every_intent_has_its_hold,
    every_hold_has_its_intent,
    holds_are_resolved_once,
    holds_are_resolved_as_proven,
    posted_is_what_was_debited,
    what_was_found_paid_is_booked,
)
