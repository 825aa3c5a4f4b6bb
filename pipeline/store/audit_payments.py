"""Invariants of payments: submitted at most once, ended only by proof, never tried again while the last may have paid."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Alias, ColumnElement, Select, and_, case, exists, func, or_, select

from pipeline.ledger import Kind
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over, words
from pipeline.store.audit_holds import PROVEN_UNPAID
from pipeline.store.tables import attempts, ledger_postings, purchases
from pipeline.store.types import seconds_us

A, U = attempts.c, purchases.c
_of_purchases = purchases.join(attempts, and_(A.order_no == U.order_no, A.purchase_id == U.id))
_submitted = A.submitted_at.is_not(None)
_older = purchases.alias("older")
CLOCKS_S = 30.0  # a worker's clock and the database's may differ by so much (DESIGN section 5.6)


def _not_proven_unpaid(columns: Any) -> ColumnElement[bool]:
    return or_(columns.proof.is_(None), columns.proof.not_in(words(PROVEN_UNPAID)))


def _binds_its_hold(table: Alias | Any) -> ColumnElement[bool]:
    """The predicate of the unique index `attempts_one_per_hold`, so that it is used."""
    c = table.c
    return and_(
        c.held_order_no.is_not(None),
        or_(c.concluded_at.is_(None), and_(c.submitted_at.is_not(None), _not_proven_unpaid(c))),
    )


@over(Scope.ORDERS, Severity.MONEY, "P03 P08")
def one_submit_per_purchase(span: Span) -> Select[Any]:
    """A purchase submits one payment, ever.

    Broken: a purchase was sent to the cashier twice.
    Do: pause payment; ask 12306 and the cashier about both trades, and get the second one back.
    """
    return (
        breaches(U.id, func.max(U.order_no), func.sum(A.amount_fen))
        .select_from(_of_purchases)
        .where(span.of(U.order_no), _submitted)
        .group_by(U.id)
        .having(func.count() > 1)
    )


@over(Scope.ORDERS, Severity.MONEY, "P02 P08")
def one_open_payment_per_order(span: Span) -> Select[Any]:
    """Of all an order's submitted attempts, at most one is not proven unpaid.

    Broken: an order was, or may have been, paid twice.
    Do: pause payment; ask 12306 and the cashier about each of its trades.
    """
    return (
        breaches(U.order_no, U.order_no, func.sum(A.amount_fen))
        .select_from(_of_purchases)
        .where(span.of(U.order_no), _submitted, _not_proven_unpaid(A))
        .group_by(U.order_no)
        .having(func.count() > 1)
    )


@over(Scope.ORDERS, Severity.MONEY, "P01 P08")
def one_open_payment_per_hold(span: Span) -> Select[Any]:
    """A hold number belongs to one attempt that is open, unresolved or paid, over all orders and agents.

    Broken: one held order on 12306 was, or could be, paid for two of ours.
    Do: pause payment; ask 12306 whose passengers the hold is for.
    """
    other = attempts.alias("other")
    shared = exists(
        select(other.c.id).where(other.c.held_order_no == A.held_order_no, other.c.id != A.id, _binds_its_hold(other))
    )
    return (
        breaches(A.held_order_no, U.order_no, A.amount_fen)
        .select_from(_of_purchases)
        .where(span.of(U.order_no), _binds_its_hold(attempts), shared)
    )


@over(Scope.ATTEMPTS, Severity.RECORD)
def every_attempt_has_its_purchase(span: Span) -> Select[Any]:
    """An attempt belongs to a purchase of the same order and generation.

    Broken: nobody would ask about this payment.
    Do: compare with a backup: purchases are never deleted.
    """
    return (
        breaches(A.id, A.order_no, A.amount_fen)
        .select_from(attempts.outerjoin(purchases, U.id == A.purchase_id))
        .where(span.of(A.id), or_(U.id.is_(None), U.order_no != A.order_no, U.generation != A.generation))
    )


@over(Scope.ORDERS, Severity.MONEY, "P04")
def the_intent_is_on_both_rows(span: Span) -> Select[Any]:
    """A purchase is marked as having its intent exactly when an attempt of it was submitted.

    Broken: whoever ends purchases without an intent could end this one as unpaid though it was sent.
    Do: pause payment and requests about the order; set intent_at to the attempt's submitted_at.
    """
    submitted = exists(select(A.id).where(A.purchase_id == U.id, _submitted))
    return breaches(U.id, U.order_no).where(
        span.of(U.order_no), or_(and_(U.intent_at.is_(None), submitted), and_(U.intent_at.is_not(None), ~submitted))
    )


@over(Scope.ORDERS, Severity.ORDER, "P14")
def no_attempt_outlives_its_purchase(span: Span) -> Select[Any]:
    """An attempt is open only while its purchase is being paid, in doubt or in a person's hands.

    Broken: the attempt binds its hold number for good, so that the hold can't be paid by anybody.
    Do: report it; a replay of the order will be refused with held_order_conflict until it is closed.
    """
    stray = or_(
        and_(A.submitted_at.is_(None), U.state != "paying"),
        and_(_submitted, U.state.not_in(("paying", "in_doubt", "paid_abnormal"))),
    )
    return (
        breaches(A.id, U.order_no, A.amount_fen)
        .select_from(_of_purchases)
        .where(span.of(U.order_no), A.concluded_at.is_(None), stray)
    )


@over(Scope.ORDERS, Severity.MONEY, "P09 O04")
def held_unpaid_is_proven(span: Span) -> Select[Any]:
    """A purchase that submitted ends as held_unpaid only by proof: refused by name, not sent, or no payment. Silence is none.

    Broken: an order that may have been paid can be imported, and paid, again.
    Do: pause payment; ask 12306 and the cashier about the trade before anything else happens to the order.
    """
    unproven = or_(A.proof.is_(None), A.proof.not_in(PROVEN_UNPAID))
    return (
        breaches(U.id, U.order_no, A.amount_fen)
        .select_from(_of_purchases)
        .where(span.of(U.order_no), _submitted, U.state == "held_unpaid", unproven)
    )


@over(Scope.ORDERS, Severity.MONEY, "P09")
def no_payment_is_proven_late_enough(span: Span) -> Select[Any]:
    """ "No payment" is concluded only after the hold's deadline and grace: before, a debit could still land.

    Broken: the answer that was taken for proof was none.
    Do: ask the cashier about the trade again; it may have been paid since.
    """
    return (
        breaches(A.id, U.order_no, A.amount_fen)
        .select_from(_of_purchases)
        .where(span.of(U.order_no), A.proof == "no_payment", A.concluded_at + seconds_us(CLOCKS_S) < A.final_after)
    )


@over(Scope.ORDERS, Severity.MONEY, "P07")
def purchased_is_proven(span: Span) -> Select[Any]:
    """A purchase counts as purchased only by proof of its submitted attempt, or by a person, who then booked the payment if
    nothing of the purchase was submitted.

    Broken: the agent gets the user's money for a ticket that nobody saw.
    Do: pause settlement; look the order up on 12306.
    """
    joined = purchases.outerjoin(attempts, and_(A.purchase_id == U.id, _submitted))
    booked = exists(
        select(ledger_postings.c.id).where(
            ledger_postings.c.order_no == U.order_no, ledger_postings.c.kind == Kind.FOUND_PAYMENT.value
        )
    )
    return (
        breaches(U.id, U.order_no, U.paid_fen)
        .select_from(joined)
        .where(
            span.of(U.order_no),
            U.state.in_(("purchased", "settled")),
            case((A.id.is_(None), ~booked), else_=func.coalesce(A.proof, "").not_in(("paid", "person"))),
        )
    )


@over(Scope.ORDERS, Severity.MONEY, "P11 O06 O09")
def only_unpaid_orders_are_imported_again(span: Span) -> Select[Any]:
    """A newer purchase of an order exists only where every older one ended as held_unpaid.

    Broken: an order whose money moved, or may have, is paid for again.
    Do: pause payment; the older purchase's outcome comes first.
    """
    return (
        breaches(U.id, U.order_no)
        .select_from(purchases.join(_older, and_(_older.c.order_no == U.order_no, _older.c.generation < U.generation)))
        .where(span.of(U.order_no), _older.c.state != "held_unpaid")
    )


@over(Scope.ORDERS, Severity.MONEY, "P12")
def generations_follow_each_other(span: Span) -> Select[Any]:
    """Generations count up by one, and the next one is accepted after the last one was concluded.

    Broken: two purchases of one order were at work at the same time.
    Do: see in `daifu orders show` what the older one submitted, and when.
    """
    before = and_(_older.c.order_no == U.order_no, _older.c.generation == U.generation - 1)
    late = or_(_older.c.id.is_(None), _older.c.concluded_at.is_(None), _older.c.concluded_at > U.accepted_at)
    return (
        breaches(U.id, U.order_no)
        .select_from(purchases.outerjoin(_older, before))
        .where(span.of(U.order_no), U.generation > 1, late)
    )


INVARIANTS: tuple[Invariant, ...] = (
    one_submit_per_purchase,
    one_open_payment_per_order,
    one_open_payment_per_hold,
    every_attempt_has_its_purchase,
    the_intent_is_on_both_rows,
    no_attempt_outlives_its_purchase,
    held_unpaid_is_proven,
    no_payment_is_proven_late_enough,
    purchased_is_proven,
    only_unpaid_orders_are_imported_again,
    generations_follow_each_other,
)
