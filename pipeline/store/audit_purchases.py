"""Invariants of purchases and orders: nobody is lost, every end is whole, and only a person leaves what only a person may."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select

from pipeline.reasons import RULES, Outcome
from pipeline.states import LIVE
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over, word
from pipeline.store.tables import attempts, audit_log, dead_letters, orders, purchases, requests, tasks
from pipeline.store.work_keys import Step, has_row, purchase_has_row

U, T = purchases.c, tasks.c
_LIVE = sorted(state.value for state in LIVE)
_ABNORMAL = sorted(reason.value for reason, rule in RULES.items() if rule.outcome is Outcome.PAID_ABNORMAL)
_of_order = purchases.join(orders, orders.c.order_no == U.order_no)
_latest = orders.join(purchases, and_(U.order_no == orders.c.order_no, U.generation == orders.c.generation))


def has_open_letter(
    order_no: ColumnElement[str], generation: ColumnElement[int], stage: str | None = None
) -> ColumnElement[bool]:
    d = dead_letters.c
    mine = [d.state == word("open"), d.order_no.is_not(None), d.order_no == order_no, d.generation == generation]
    return exists(select(d.id).where(*mine, *([] if stage is None else [d.stage == stage])))


@over(Scope.ORDERS, Severity.ORDER, "O01 M02")
def no_purchase_is_forgotten(span: Span) -> Select[Any]:
    """Every purchase that is not settled or ended has a work row or an open dead letter; from the intent on it has its
    question row, whatever else there is.

    Broken: nobody works on the order; if it was submitted, nobody asks how it ended.
    Do: report it with `daifu orders show`; the questions can be asked by hand at 12306 and the cashier.
    """
    before = and_(U.intent_at.is_(None), ~has_open_letter(U.order_no, U.generation))
    return (
        breaches(U.id, U.order_no, orders.c.fare_fen)
        .select_from(_of_order)
        .where(
            span.of(U.order_no),
            or_(
                and_(U.state == "accepted", before, ~purchase_has_row(U.id, Step.CREDENTIALS)),
                and_(U.state.in_(("ready", "paying")), before, ~purchase_has_row(U.id, Step.PAY)),
                and_(
                    U.state.in_(("paying", "in_doubt")),
                    U.intent_at.is_not(None),
                    ~purchase_has_row(U.id, Step.ASK),
                ),
                and_(U.state == "in_doubt", U.intent_at.is_(None)),
                and_(
                    U.state == "purchased",
                    ~purchase_has_row(U.id, Step.SETTLE),
                    ~has_open_letter(U.order_no, U.generation),
                ),
            ),
        )
    )


@over(Scope.ORDERS, Severity.ORDER, "H01 P06")
def every_abnormal_has_its_task(span: Span) -> Select[Any]:
    """Every paid_abnormal is an open task for a person.

    Broken: nobody will ever find out what became of the money.
    Do: take it up by its order number: `daifu orders resolve`.
    """
    has_task = exists(select(T.id).where(T.uid == U.id + ":close", T.closed_at.is_(None)))
    return (
        breaches(U.id, U.order_no, orders.c.fare_fen)
        .select_from(_of_order)
        .where(span.of(U.order_no), U.state == "paid_abnormal", ~has_task)
    )


@over(Scope.ORDERS, Severity.ORDER, "M02")
def no_request_waits_for_nobody(span: Span) -> Select[Any]:
    """A request that waits for its order has a row that will end the wait, or a dead letter, and no order.

    Broken: an agent's request was answered and then forgotten.
    Do: let AM send its order.paid again.
    """
    r = requests.c
    waited_for = or_(
        has_row(r.order_no, Step.ORDER_WAIT),
        has_open_letter(r.order_no, literal(0), "intake"),
    )
    known = exists(select(orders.c.order_no).where(orders.c.order_no == r.order_no))
    return breaches(r.id, r.order_no).where(span.of(r.order_no), r.answer == word("waiting"), or_(~waited_for, known))


@over(Scope.ORDERS, Severity.MONEY, "O01")
def ticketed_offline_waits_for_departure(span: Span) -> Select[Any]:
    """An order ticketed offline whose money is still frozen has its departure row, or an open dead letter.

    Broken: the agent will never get the fare.
    Do: report it; the row is put back by replaying its dead letter, where there is one.
    """
    return breaches(orders.c.order_no, orders.c.order_no, orders.c.frozen_fen).where(
        span.of(orders.c.order_no),
        orders.c.closure == "ticketed_offline",
        orders.c.frozen_fen > 0,
        ~has_row(orders.c.order_no, Step.DEPARTURE),
        ~has_open_letter(orders.c.order_no, literal(0), "settlement"),
    )


@over(Scope.ORDERS, Severity.RECORD, "O10")
def orders_know_their_latest_purchase(span: Span) -> Select[Any]:
    """An order's generation is that of its latest purchase.

    Broken: requests are decided on another purchase than the one at work.
    Do: pause payment for the agent and report it.
    """
    last = (
        select(U.order_no, func.max(U.generation).label("generation"))
        .where(span.of(U.order_no))
        .group_by(U.order_no)
        .subquery()
    )
    return (
        breaches(orders.c.order_no, orders.c.order_no)
        .select_from(orders.outerjoin(last, last.c.order_no == orders.c.order_no))
        .where(span.of(orders.c.order_no), orders.c.generation != func.coalesce(last.c.generation, 0))
    )


@over(Scope.ORDERS, Severity.RECORD)
def every_purchase_has_its_order(span: Span) -> Select[Any]:
    """A purchase belongs to an order of the same agent.

    Broken: a purchase would be paid from one agent's fund for another's order.
    Do: pause payment for both agents and report it.
    """
    return (
        breaches(U.id, U.order_no)
        .select_from(purchases.outerjoin(orders, orders.c.order_no == U.order_no))
        .where(span.of(U.order_no), or_(orders.c.order_no.is_(None), orders.c.agent != U.agent))
    )


@over(Scope.ORDERS, Severity.RECORD, "O02")
def an_end_has_its_reason(span: Span) -> Select[Any]:
    """A purchase has a time of conclusion exactly when it has an outcome; held_unpaid and paid_abnormal say why, with a
    reason of their own outcome.

    Broken: people and AM are told a wrong reason, or none; a replay may be offered that should not be.
    Do: look at the order's story before replaying it.
    """
    live = U.state.in_(_LIVE)
    abnormal = func.coalesce(U.reason, "").in_(_ABNORMAL)
    return breaches(U.id, U.order_no).where(
        span.of(U.order_no),
        or_(
            and_(live, U.concluded_at.is_not(None)),
            and_(~live, U.concluded_at.is_(None)),
            and_(U.state.in_(("held_unpaid", "paid_abnormal", "refunded", "never_debited")), U.reason.is_(None)),
            and_(U.state == "held_unpaid", abnormal),
            and_(U.state == "paid_abnormal", ~abnormal),
        ),
    )


@over(Scope.ORDERS, Severity.RECORD, "S01")
def no_password_outlives_its_purchase(span: Span) -> Select[Any]:
    """The sealed 12306 password is deleted from a purchase when it ends.

    Broken: a secret is kept longer than promised.
    Do: delete it; whoever can read the database and the vault's key could have opened it.
    """
    return breaches(U.id, U.order_no).where(span.of(U.order_no), U.password_sealed.is_not(None), U.state.not_in(_LIVE))


def _closed_by_person() -> ColumnElement[bool]:
    a = attempts.c
    proven = exists(select(a.id).where(a.order_no == U.order_no, a.purchase_id == U.id, a.proof == "person"))
    bought_without_intent = and_(U.state.in_(("purchased", "settled")), U.intent_at.is_(None))
    return or_(U.state.in_(("refunded", "never_debited")), proven, bought_without_intent)


@over(Scope.ORDERS, Severity.MONEY, "O07 H02")
def an_abnormal_is_left_only_by_a_person(span: Span) -> Select[Any]:
    """A purchase that was paid_abnormal is left by a closed task with the name of a person.

    Broken: a process decided over money whose fate only a person may decide.
    Do: pause settlement; look the payment up on 12306 and at the cashier.
    """
    by_person = exists(
        select(T.id).where(
            T.uid == U.id + ":close", T.closed_at.is_not(None), func.substr(T.closed_by, 1, 6) == "human:"
        )
    )
    return breaches(U.id, U.order_no, U.paid_fen).where(span.of(U.order_no), _closed_by_person(), ~by_person)


@over(Scope.ORDERS, Severity.RECORD, "A02")
def every_closing_is_in_the_audit_log(span: Span) -> Select[Any]:
    """Every paid_abnormal that a person closed stands in the audit log.

    Broken: nobody can say who decided.
    Do: ask whom the task names, and write it down.
    """
    logged = exists(
        select(audit_log.c.id).where(audit_log.c.subject == U.order_no, audit_log.c.action == "abnormal.close")
    )
    return breaches(U.id, U.order_no).where(span.of(U.order_no), _closed_by_person(), ~logged)


@over(Scope.ORDERS, Severity.MONEY, "O08")
def a_closed_order_buys_nothing(span: Span) -> Select[Any]:
    """An order closed as ticketed offline, without ticket or refunded has no purchase that is live, bought, or abnormal.

    Broken: an order is ticketed twice, or paid for though its user has the money back.
    Do: pause payment for the agent; withdraw the purchase if nothing was submitted.
    """
    wrong = U.state.not_in(("held_unpaid", "never_debited", "refunded"))
    half_closed = case(
        (orders.c.closure.is_(None), orders.c.closed_at.is_not(None)), else_=orders.c.closed_at.is_(None)
    )
    return (
        breaches(orders.c.order_no, orders.c.order_no, orders.c.fare_fen)
        .select_from(
            orders.outerjoin(purchases, and_(U.order_no == orders.c.order_no, U.generation == orders.c.generation))
        )
        .where(span.of(orders.c.order_no), or_(and_(orders.c.closure.is_not(None), wrong), half_closed))
    )


@over(Scope.ORDERS, Severity.ORDER)
def what_was_kept_is_done(span: Span) -> Select[Any]:
    """A CONFIRM, or a granted refund, that waited for the outcome is applied by the transaction that ends it unpaid.

    Broken: the agent's answer was true, and then nothing happened.
    Do: let the agent send it again.
    """
    return (
        breaches(orders.c.order_no, orders.c.order_no, orders.c.frozen_fen)
        .select_from(_latest)
        .where(
            span.of(orders.c.order_no),
            orders.c.closure.is_(None),
            or_(orders.c.kept_confirm.is_not(None), orders.c.kept_refund.is_(True)),
            U.state.in_(("held_unpaid", "never_debited")),
        )
    )


INVARIANTS: tuple[Invariant, ...] = (
    no_purchase_is_forgotten,
    every_abnormal_has_its_task,
    no_request_waits_for_nobody,
    ticketed_offline_waits_for_departure,
    orders_know_their_latest_purchase,
    every_purchase_has_its_order,
    an_end_has_its_reason,
    no_password_outlives_its_purchase,
    an_abnormal_is_left_only_by_a_person,
    every_closing_is_in_the_audit_log,
    a_closed_order_buys_nothing,
    what_was_kept_is_done,
)
