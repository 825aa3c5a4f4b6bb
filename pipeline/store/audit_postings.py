"""Invariants of the ledger by itself: postings and their entries, whatever order they belong to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, null, or_

from pipeline.ledger import ALLOWED_LEGS, Kind
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over
from pipeline.store.tables import ledger_entries, ledger_postings, orders

P, E = ledger_postings.c, ledger_entries.c
_with_entries = ledger_postings.join(ledger_entries, E.posting_key == P.key)


@over(Scope.POSTINGS, Severity.MONEY, "L01")
def every_posting_balances(span: Span) -> Select[Any]:
    """Every posting has at least two legs, and they sum to zero.

    Broken: money was made or lost on paper; every balance of that agent may be wrong by the sum.
    Do: `daifu orders show` the order and compare its postings with what happened; correct by a new posting, never by an update.
    """
    total = func.coalesce(func.sum(E.amount_fen), 0)
    return (
        breaches(P.key, P.order_no, total)
        .select_from(ledger_postings.outerjoin(ledger_entries, E.posting_key == P.key))
        .where(span.of(P.id))
        .group_by(P.key, P.order_no)
        .having(or_(total != 0, func.count(E.id) < 2))
    )


@over(Scope.POSTINGS, Severity.MONEY, "L16")
def legs_allowed_for_their_kind(span: Span) -> Select[Any]:
    """Money moves only between the accounts that its kind of posting names (DESIGN section 6).

    Broken: money went to an account where that kind never puts it, or the kind is unknown.
    Do: find what wrote the posting; move the money back with a posting that names it.
    """
    allowed = [
        and_(
            P.kind == kind.value,
            or_(
                and_(E.amount_fen < 0, E.account.in_([account.value for account in gives])),
                and_(E.amount_fen > 0, E.account.in_([account.value for account in gains])),
            ),
        )
        for kind, (gives, gains) in ALLOWED_LEGS.items()
    ]
    return breaches(P.key, P.order_no, E.amount_fen).select_from(_with_entries).where(span.of(P.id), ~or_(*allowed))


def _begins(prefix: ColumnElement[str]) -> ColumnElement[bool]:
    return func.substr(P.key, 1, func.length(prefix)) == prefix


@over(Scope.POSTINGS, Severity.MONEY, "L06")
def every_posting_has_its_key(span: Span) -> Select[Any]:
    """A posting's key is the one its kind, order and attempt make: what makes doing it twice doing it once.

    Broken: the same movement could be posted again under its right key.
    Do: pause payment and settlement; find what wrote the posting, and whether the movement is there twice.
    """
    of_order = {
        "freeze:": (Kind.FREEZE,),
        "found:": (Kind.FOUND_PAYMENT,),
        "thaw:": (Kind.UNFREEZE, Kind.DEPARTURE_UNFREEZE, Kind.FULL_REFUND),
    }
    of_attempt = {"hold:": (Kind.HOLD,), "resolve:": (Kind.POST, Kind.VOID)}
    right = [
        and_(P.kind.in_([kind.value for kind in kinds]), P.key == literal(prefix) + column)
        for column, prefixes in ((P.order_no, of_order), (P.attempt_id, of_attempt))
        for prefix, kinds in prefixes.items()
    ]
    right += [
        and_(P.kind == Kind.RAILWAY_REFUND.value, _begins(literal("railway_refund:") + P.order_no + ":")),
        and_(P.kind == Kind.TOP_UP.value, _begins(literal("top_up:"))),
    ]
    return breaches(P.key, P.order_no).where(span.of(P.id), ~func.coalesce(or_(*right), literal(False)))


@over(Scope.POSTINGS, Severity.MONEY)
def postings_belong_to_their_order(span: Span) -> Select[Any]:
    """A posting about an order is in the books of that order's agent.

    Broken: one agent's money stands in another's books.
    Do: pause payment and settlement; move it with postings in both books, and tell both agents.
    """
    return (
        breaches(P.key, P.order_no)
        .select_from(ledger_postings.outerjoin(orders, orders.c.order_no == P.order_no))
        .where(span.of(P.id), P.order_no.is_not(None), or_(orders.c.order_no.is_(None), orders.c.agent != P.agent))
    )


@over(Scope.ENTRIES, Severity.MONEY, "L03")
def every_entry_has_its_posting(span: Span) -> Select[Any]:
    """Every entry moves something, and belongs to a posting of the same agent.

    Broken: a balance holds money that no posting explains.
    Do: compare with a backup: postings are never deleted, so somebody reached into the database.
    """
    strays = or_(P.key.is_(None), P.agent != E.agent, E.amount_fen == 0)
    return (
        breaches(E.posting_key, case((P.key.is_(None), null()), else_=P.order_no), E.amount_fen)
        .select_from(ledger_entries.outerjoin(ledger_postings, E.posting_key == P.key))
        .where(span.of(E.id), strays)
    )


@over(Scope.ENTRIES, Severity.RECORD)
def an_entry_has_its_postings_time(span: Span) -> Select[Any]:
    """An entry counts from the moment of its posting on.

    Broken: balances at past moments, and the statements that begin with them, are not what they were.
    Do: report it; then set the entry's time to its posting's.
    """
    return (
        breaches(E.posting_key, P.order_no, E.amount_fen)
        .select_from(ledger_entries.join(ledger_postings, E.posting_key == P.key))
        .where(span.of(E.id), E.at != P.at)
    )


INVARIANTS: tuple[Invariant, ...] = (
    every_posting_balances,
    legs_allowed_for_their_kind,
    every_posting_has_its_key,
    postings_belong_to_their_order,
    every_entry_has_its_posting,
    an_entry_has_its_postings_time,
)
