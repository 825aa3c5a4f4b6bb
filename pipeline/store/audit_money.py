"""Invariants of an order's money: frozen once and gone once, held while its fate is open, posted as it was debited."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, exists, func, literal, or_, select

from pipeline.ledger import Account, Kind
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over
from pipeline.store.tables import ledger_entries, ledger_postings, orders, purchases, railway_refunds, tasks

P, E = ledger_postings.c, ledger_entries.c
_with_entries = ledger_postings.join(ledger_entries, E.posting_key == P.key)
_THAWS = (Kind.UNFREEZE.value, Kind.DEPARTURE_UNFREEZE.value, Kind.FULL_REFUND.value)


def sum_of(account: Account, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """What the entries of a group put on `account`, 0 where there are none."""
    return func.coalesce(func.sum(case((and_(E.account == account.value, *conditions), E.amount_fen), else_=0)), 0)


def _by_order(span: Span, **columns: ColumnElement[Any]) -> Subquery:
    """Sums over an order's postings."""
    labels = [column.label(name) for name, column in columns.items()]
    return (
        select(P.order_no, *labels)
        .select_from(_with_entries)
        .where(span.of(P.order_no))
        .group_by(P.order_no)
        .subquery()
    )


@over(Scope.ORDERS, Severity.MONEY, "L09")
def the_fare_is_frozen_once(span: Span) -> Select[Any]:
    """What the user paid for an order is frozen once, for exactly its fare.

    Broken: the agent's frozen money is not what users paid.
    Do: compare the order.paid message (`daifu orders show`) with the freeze posting.
    """
    sums = _by_order(span, fen=sum_of(Account.FROZEN, P.kind == Kind.FREEZE.value))
    frozen = func.coalesce(sums.c.fen, 0)
    return (
        breaches(orders.c.order_no, orders.c.order_no, orders.c.fare_fen - frozen)
        .select_from(orders.outerjoin(sums, sums.c.order_no == orders.c.order_no))
        .where(span.of(orders.c.order_no), frozen != orders.c.fare_fen)
    )


@over(Scope.ORDERS, Severity.MONEY, "L10")
def frozen_rest_of_each_order(span: Span) -> Select[Any]:
    """What an order says is still frozen is what its postings left frozen.

    Broken: the order's money left without being marked as gone, and could leave again; or the other way round.
    Do: pause settlement; the postings are the truth.
    """
    sums = _by_order(span, fen=sum_of(Account.FROZEN))
    rest = func.coalesce(sums.c.fen, 0)
    return (
        breaches(orders.c.order_no, orders.c.order_no, orders.c.frozen_fen - rest)
        .select_from(orders.outerjoin(sums, sums.c.order_no == orders.c.order_no))
        .where(span.of(orders.c.order_no), rest != orders.c.frozen_fen)
    )


@over(Scope.ORDERS, Severity.MONEY, "L10")
def frozen_money_leaves_once(span: Span) -> Select[Any]:
    """Of all the ways out of frozen (unfreeze, departure unfreeze, full refund) an order takes one, once.

    Broken: the fare of one order was paid out twice, from other users' money.
    Do: pause settlement; take the second one back with a posting that names it.
    """
    return (
        breaches(P.order_no, P.order_no, func.count())
        .where(span.of(P.order_no), P.kind.in_(_THAWS))
        .group_by(P.order_no)
        .having(func.count() > 1)
    )


@over(Scope.ORDERS, Severity.MONEY, "L10 L12")
def frozen_money_leaves_as_the_order_ended(span: Span) -> Select[Any]:
    """Frozen money goes to the agent only for a settled or offline ticketed order, to the user only for one closed without
    a ticket; and when an order is settled or closed without a ticket, nothing of it stays frozen.

    Broken: the fare went to the wrong party, or nobody got it.
    Do: see in `daifu orders show` how the order ended; correct by a posting that names the wrong one.
    """

    def went(kind: Kind) -> ColumnElement[bool]:
        return exists(select(P.id).where(P.order_no == orders.c.order_no, P.kind == kind.value))

    settled = exists(
        select(purchases.c.id).where(purchases.c.order_no == orders.c.order_no, purchases.c.state == "settled")
    )
    closure = func.coalesce(orders.c.closure, "")
    refunded = closure.in_(("no_ticket", "refunded"))
    return breaches(orders.c.order_no, orders.c.order_no, orders.c.fare_fen).where(
        span.of(orders.c.order_no),
        or_(
            and_(went(Kind.UNFREEZE), ~settled),
            and_(went(Kind.DEPARTURE_UNFREEZE), closure != "ticketed_offline"),
            and_(went(Kind.FULL_REFUND), ~refunded),
            and_(or_(settled, refunded), orders.c.frozen_fen != 0),
        ),
    )


@over(Scope.ORDERS, Severity.MONEY, "L11")
def settled_is_the_whole_fare(span: Span) -> Select[Any]:
    """Settling gives the agent what was paid and the user the rest: together the fare, as posted and as AM was told.

    Broken: agent or user got another amount than the purchase says.
    Do: compare the unfreeze posting with paid_fen; pay the difference by a posting that names it.
    """
    sums = _by_order(
        span,
        agent_fen=sum_of(Account.AVAILABLE, P.kind == Kind.UNFREEZE.value),
        user_fen=sum_of(Account.USER, P.kind == Kind.UNFREEZE.value),
    )
    to_agent, to_user = func.coalesce(sums.c.agent_fen, 0), func.coalesce(sums.c.user_fen, 0)
    paid = case((purchases.c.paid_fen < orders.c.fare_fen, purchases.c.paid_fen), else_=orders.c.fare_fen)
    joined = purchases.join(orders, orders.c.order_no == purchases.c.order_no).outerjoin(
        sums, sums.c.order_no == purchases.c.order_no
    )
    return (
        breaches(purchases.c.id, orders.c.order_no, orders.c.fare_fen - to_agent - to_user)
        .select_from(joined)
        .where(
            span.of(purchases.c.order_no),
            purchases.c.state == "settled",
            or_(
                to_agent != paid,
                to_user != orders.c.fare_fen - paid,
                purchases.c.unfrozen_fen != to_agent,
                purchases.c.partial_refund_fen != to_user,
            ),
        )
    )


@over(Scope.ORDERS, Severity.MONEY, "L17")
def refunds_within_what_was_posted(span: Span) -> Select[Any]:
    """12306 never gives back more for an order than was posted to it.

    Broken: a refund was booked twice, or to the wrong order.
    Do: compare the refunds in `daifu orders show` with 12306.
    """
    sums = _by_order(span, fen=sum_of(Account.RAILWAY))
    return breaches(sums.c.order_no, sums.c.order_no, sums.c.fen).where(sums.c.fen < 0)


@over(Scope.ORDERS, Severity.MONEY, "R04")
def every_refund_is_booked_once(span: Span) -> Select[Any]:
    """A 12306 refund that counts as booked has its posting of that amount, one that waits has none, and one that no post
    can cover any more is a person's task.

    Broken: money that came back from 12306 is missing from, or twice in, the agent's refund account.
    Do: compare the refund with 12306; book what is missing once the post is there.
    """
    r = railway_refunds.c
    key = literal("railway_refund:") + r.order_no + ":" + r.refund_id
    booked = (
        select(func.coalesce(func.sum(E.amount_fen), 0))
        .where(E.posting_key == key, E.account == Account.REFUND.value)
        .scalar_subquery()
    )
    awaits = exists(
        select(purchases.c.id).where(
            purchases.c.order_no == r.order_no,
            purchases.c.intent_at.is_not(None),
            purchases.c.state.in_(("paying", "in_doubt", "purchased", "paid_abnormal")),
        )
    )
    has_task = exists(select(tasks.c.id).where(tasks.c.uid == r.order_no + ":refund:" + r.refund_id))
    return breaches(key, r.order_no, r.amount_fen).where(
        span.of(r.order_no),
        or_(
            and_(r.posted.is_(True), booked != r.amount_fen),
            and_(r.posted.is_(False), booked != 0),
            and_(r.posted.is_(False), ~awaits, ~has_task),
        ),
    )


INVARIANTS: tuple[Invariant, ...] = (
    the_fare_is_frozen_once,
    frozen_rest_of_each_order,
    frozen_money_leaves_once,
    frozen_money_leaves_as_the_order_ended,
    settled_is_the_whole_fare,
    refunds_within_what_was_posted,
    every_refund_is_booked_once,
)
