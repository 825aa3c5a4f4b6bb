"""Audit checks of the ledger: what is posted balances, and fits orders and attempts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Select, and_, case, func, literal, null, or_, select

from pipeline.ledger import ALLOWED_LEGS, GUARDED, Account, Kind
from pipeline.store.audit_checks import Check, Hit, by_query
from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts, ledger_balances, ledger_entries, ledger_postings, orders, purchases

P, E = ledger_postings.c, ledger_entries.c
_with_entries = ledger_postings.join(ledger_entries, E.posting_key == P.key)


def _sum_of(account: Account) -> Any:
    return func.coalesce(func.sum(case((E.account == account.value, E.amount_fen), else_=0)), 0)


_unbalanced = (
    select(P.key.label("subject"), P.order_no, func.coalesce(func.sum(E.amount_fen), 0).label("fen"))
    .select_from(ledger_postings.outerjoin(ledger_entries, E.posting_key == P.key))
    .group_by(P.key, P.order_no)
    .having(or_(func.coalesce(func.sum(E.amount_fen), 0) != 0, func.count(E.id) < 2))
)
_orphans = (
    select(E.posting_key.label("subject"), null().label("order_no"), E.amount_fen.label("fen"))
    .select_from(ledger_entries.outerjoin(ledger_postings, E.posting_key == P.key))
    .where(P.key.is_(None))
)


def _balances_differ(tx: Transaction) -> list[Hit]:
    journal: dict[tuple[str, str], int] = defaultdict(int)
    guarded = [account.value for account in GUARDED]
    sums = select(E.agent, E.account, func.sum(E.amount_fen).label("fen")).where(E.account.in_(guarded))
    for row in tx.rows(sums.group_by(E.agent, E.account)):
        journal[row.agent, row.account] += int(row.fen)
    for row in tx.rows(select(ledger_balances)):
        journal[row.agent, row.account] -= row.balance_fen
    return [Hit(f"{agent}:{account}", None, fen) for (agent, account), fen in journal.items() if fen]


_below_zero = (
    select((E.agent + ":" + E.account).label("subject"), null().label("order_no"), func.sum(E.amount_fen).label("fen"))
    .where(E.account.in_([account.value for account in GUARDED]))
    .group_by(E.agent, E.account)
    .having(func.sum(E.amount_fen) < 0)
)


def _legs_not_allowed() -> Select[Any]:
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
    return (
        select(P.key.label("subject"), P.order_no, E.amount_fen.label("fen"))
        .select_from(_with_entries)
        .where(~or_(*allowed))
    )


_frozen = (
    select(
        P.order_no,
        _sum_of(Account.FROZEN).label("rest"),
        func.coalesce(
            func.sum(
                case((and_(P.kind == Kind.FREEZE.value, E.account == Account.FROZEN.value), E.amount_fen), else_=0)
            ),
            0,
        ).label("frozen"),
    )
    .select_from(_with_entries)
    .where(P.order_no.is_not(None))
    .group_by(P.order_no)
    .subquery()
)
_of_frozen = orders.outerjoin(_frozen, _frozen.c.order_no == orders.c.order_no)
_rest, _fare = func.coalesce(_frozen.c.rest, 0), func.coalesce(_frozen.c.frozen, 0)
_frozen_differs = (
    select(orders.c.order_no.label("subject"), orders.c.order_no, (orders.c.frozen_fen - _rest).label("fen"))
    .select_from(_of_frozen)
    .where(_rest != orders.c.frozen_fen)
)
_fare_differs = (
    select(orders.c.order_no.label("subject"), orders.c.order_no, (orders.c.fare_fen - _fare).label("fen"))
    .select_from(_of_frozen)
    .where(_fare != orders.c.fare_fen)
)

_resolved = (
    select(P.attempt_id.label("id"), func.max(P.kind).label("kind"), _sum_of(Account.RAILWAY).label("railway_fen"))
    .select_from(_with_entries)
    .where(P.kind.in_((Kind.POST.value, Kind.VOID.value)))
    .group_by(P.attempt_id)
    .subquery()
)
_held = (
    select(P.attempt_id.label("id"), _sum_of(Account.IN_FLIGHT).label("fen"))
    .select_from(_with_entries)
    .where(P.kind == Kind.HOLD.value)
    .group_by(P.attempt_id)
    .subquery()
)


def _in_flight_differs(tx: Transaction) -> list[Hit]:
    """Per agent: in flight holds exactly what was submitted and is neither posted nor void."""
    open_holds = (
        select(purchases.c.agent, func.sum(attempts.c.amount_fen).label("fen"))
        .select_from(
            attempts.join(purchases, purchases.c.id == attempts.c.purchase_id).outerjoin(
                _resolved, _resolved.c.id == attempts.c.id
            )
        )
        .where(attempts.c.submitted_at.is_not(None), _resolved.c.id.is_(None))
        .group_by(purchases.c.agent)
    )
    differs: dict[str, int] = defaultdict(int)
    for row in tx.rows(open_holds):
        differs[row.agent] -= int(row.fen)
    for row in tx.rows(select(ledger_balances).where(ledger_balances.c.account == Account.IN_FLIGHT.value)):
        differs[row.agent] += row.balance_fen
    return [Hit(agent, None, fen) for agent, fen in differs.items() if fen]


_hold_differs = (
    select(
        attempts.c.id.label("subject"),
        attempts.c.order_no,
        (attempts.c.amount_fen - func.coalesce(_held.c.fen, 0)).label("fen"),
    )
    .select_from(attempts.outerjoin(_held, _held.c.id == attempts.c.id))
    .where(attempts.c.submitted_at.is_not(None), func.coalesce(_held.c.fen, 0) != attempts.c.amount_fen)
)
_hold_without_intent = (
    select(_held.c.id.label("subject"), attempts.c.order_no, _held.c.fen.label("fen"))
    .select_from(_held.outerjoin(attempts, attempts.c.id == _held.c.id))
    .where(or_(attempts.c.id.is_(None), attempts.c.submitted_at.is_(None)))
)
# Proven unpaid: void. Paid: posted, once it is settled. Unresolved: neither.
_unpaid = attempts.c.proof.in_(("refused", "not_sent", "no_payment"))
_resolution_differs = (
    select(attempts.c.id.label("subject"), attempts.c.order_no, attempts.c.amount_fen.label("fen"))
    .select_from(
        attempts.join(purchases, purchases.c.id == attempts.c.purchase_id).outerjoin(
            _resolved, _resolved.c.id == attempts.c.id
        )
    )
    .where(
        attempts.c.submitted_at.is_not(None),
        or_(
            and_(_unpaid, func.coalesce(_resolved.c.kind, "") != Kind.VOID.value),
            and_(attempts.c.proof == "paid", _resolved.c.kind == Kind.VOID.value),
            and_(
                purchases.c.state.in_(("settled", "refunded")), func.coalesce(_resolved.c.kind, "") != Kind.POST.value
            ),
            and_(purchases.c.state == "never_debited", func.coalesce(_resolved.c.kind, "") != Kind.VOID.value),
            and_(attempts.c.proof.is_(None), _resolved.c.id.is_not(None)),
        ),
    )
)
_posted_differs = (
    select(
        attempts.c.id.label("subject"),
        attempts.c.order_no,
        (_resolved.c.railway_fen - func.coalesce(attempts.c.debited_fen, 0)).label("fen"),
    )
    .select_from(attempts.join(_resolved, _resolved.c.id == attempts.c.id))
    .where(_resolved.c.railway_fen != func.coalesce(attempts.c.debited_fen, 0))
)
_refunded_too_much = (
    select(P.order_no.label("subject"), P.order_no, func.sum(E.amount_fen).label("fen"))
    .select_from(_with_entries)
    .where(E.account == Account.RAILWAY.value)
    .group_by(P.order_no)
    .having(func.sum(E.amount_fen) < literal(0))
)

CHECKS: tuple[Check, ...] = (
    by_query("every_posting_balances", _unbalanced),
    by_query("every_entry_has_its_posting", _orphans),
    Check("balances_equal_entries", _balances_differ),
    by_query("guarded_accounts_never_below_zero", _below_zero),
    by_query("legs_allowed_for_their_kind", _legs_not_allowed()),
    by_query("the_fare_is_frozen_once", _fare_differs),
    by_query("frozen_rest_of_each_order", _frozen_differs),
    Check("in_flight_is_what_is_open", _in_flight_differs),
    by_query("every_intent_has_its_hold", _hold_differs),
    by_query("every_hold_has_its_intent", _hold_without_intent),
    by_query("holds_are_resolved_as_proven", _resolution_differs),
    by_query("posted_is_what_was_debited", _posted_differs),
    by_query("refunds_within_what_was_posted", _refunded_too_much),
)
