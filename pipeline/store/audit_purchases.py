"""Audit checks of purchases: paid at most once, never forgotten, and told."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, and_, exists, func, literal, or_, select
from sqlalchemy.sql import ColumnElement

from pipeline.reasons import Reason
from pipeline.store.audit_checks import Check, by_query
from pipeline.store.tables import attempts, callbacks, dead_letters, orders, purchases, tasks, work
from pipeline.store.work import Step

_zero = literal(0)
_not_proven_unpaid = or_(attempts.c.proof.is_(None), attempts.c.proof.not_in(("refused", "not_sent", "no_payment")))


def _more_than_one(column: ColumnElement[Any], *conditions: ColumnElement[bool]) -> Select[Any]:
    """Submitted attempts that share `column` with another one."""
    return (
        select(
            column.label("subject"),
            func.max(attempts.c.order_no).label("order_no"),
            func.sum(attempts.c.amount_fen).label("fen"),
        )
        .where(attempts.c.submitted_at.is_not(None), *conditions)
        .group_by(column)
        .having(func.count() > 1)
    )


_of_purchase = and_(work.c.order_no == purchases.c.order_no, work.c.generation == purchases.c.generation)
_intent = exists(
    select(attempts.c.id).where(attempts.c.purchase_id == purchases.c.id, attempts.c.submitted_at.is_not(None))
)


def _row(*steps: Step) -> ColumnElement[bool]:
    return exists(select(work.c.key).where(_of_purchase, work.c.step.in_([step.value for step in steps])))


_open_letter = exists(
    select(dead_letters.c.id).where(
        dead_letters.c.order_no == purchases.c.order_no,
        dead_letters.c.generation == purchases.c.generation,
        dead_letters.c.state == "open",
    )
)
_open_task = exists(
    select(tasks.c.id).where(
        tasks.c.order_no == purchases.c.order_no, tasks.c.kind == "close_abnormal", tasks.c.closed_at.is_(None)
    )
)


def _purchases(where: ColumnElement[bool]) -> Select[Any]:
    return (
        select(purchases.c.id.label("subject"), purchases.c.order_no, orders.c.fare_fen.label("fen"))
        .select_from(purchases.join(orders, orders.c.order_no == purchases.c.order_no))
        .where(where)
    )


# Before the intent: a row, or a dead letter whose purchase the relay ends at stop_at. After it: a question row, always.
_forgotten = _purchases(
    or_(
        and_(purchases.c.state == "accepted", ~_row(Step.CREDENTIALS), ~_open_letter),
        and_(purchases.c.state.in_(("ready", "paying")), ~_intent, ~_row(Step.PAY), ~_open_letter),
        and_(purchases.c.state.in_(("paying", "in_doubt")), _intent, ~_row(Step.ASK)),
        and_(purchases.c.state == "in_doubt", ~_intent),
        and_(purchases.c.state == "purchased", ~_row(Step.SETTLE), ~_open_letter),
    )
)
_abnormal_without_task = _purchases(and_(purchases.c.state == "paid_abnormal", ~_open_task))
_password_kept = _purchases(
    and_(
        purchases.c.password_sealed.is_not(None), purchases.c.state.not_in(("accepted", "ready", "paying", "in_doubt"))
    )
)
_latest = (
    select(purchases.c.order_no, func.max(purchases.c.generation).label("generation"))
    .group_by(purchases.c.order_no)
    .subquery()
)
_generation_differs = (
    select(orders.c.order_no.label("subject"), orders.c.order_no, _zero.label("fen"))
    .select_from(orders.outerjoin(_latest, _latest.c.order_no == orders.c.order_no))
    .where(orders.c.generation != func.coalesce(_latest.c.generation, 0))
)
_older = purchases.alias("older")
_live_again = (
    select(purchases.c.id.label("subject"), purchases.c.order_no, orders.c.fare_fen.label("fen"))
    .select_from(
        purchases.join(orders, orders.c.order_no == purchases.c.order_no).join(
            _older,
            and_(_older.c.order_no == purchases.c.order_no, _older.c.generation < purchases.c.generation),
        )
    )
    .where(_older.c.state != "held_unpaid")
)
_tell_row = exists(select(work.c.key).where(work.c.order_no == callbacks.c.order_no, work.c.step == Step.TELL.value))
_untold = select(callbacks.c.webhook_id.label("subject"), callbacks.c.order_no, _zero.label("fen")).where(
    callbacks.c.state == "pending", ~_tell_row
)
# The agent's own CONFIRM or NO_TICKET ends a purchase without a word: it knows.
_callback = exists(
    select(callbacks.c.id).where(
        callbacks.c.order_no == purchases.c.order_no, callbacks.c.generation == purchases.c.generation
    )
)
_nothing_to_tell = _purchases(
    and_(
        purchases.c.state.in_(("purchased", "settled", "held_unpaid", "paid_abnormal", "refunded", "never_debited")),
        func.coalesce(purchases.c.reason, "") != Reason.WITHDRAWN.value,
        ~_callback,
    )
)
_submitted = attempts.alias("submitted")
_ended_unproven = (
    select(purchases.c.id.label("subject"), purchases.c.order_no, _submitted.c.amount_fen.label("fen"))
    .select_from(purchases.join(_submitted, _submitted.c.purchase_id == purchases.c.id))
    .where(
        _submitted.c.submitted_at.is_not(None),
        purchases.c.state == "held_unpaid",
        or_(_submitted.c.proof.is_(None), _submitted.c.proof.not_in(("refused", "not_sent", "no_payment"))),
    )
)
_paid_unproven = (
    select(purchases.c.id.label("subject"), purchases.c.order_no, purchases.c.paid_fen.label("fen"))
    .select_from(
        purchases.outerjoin(
            _submitted, and_(_submitted.c.purchase_id == purchases.c.id, _submitted.c.submitted_at.is_not(None))
        )
    )
    .where(
        purchases.c.state.in_(("purchased", "settled")),
        or_(_submitted.c.proof.is_(None), _submitted.c.proof.not_in(("paid", "person"))),
    )
)
_settled_differs = (
    select(
        purchases.c.id.label("subject"),
        purchases.c.order_no,
        (orders.c.fare_fen - purchases.c.unfrozen_fen - purchases.c.partial_refund_fen).label("fen"),
    )
    .select_from(purchases.join(orders, orders.c.order_no == purchases.c.order_no))
    .where(
        purchases.c.state == "settled",
        orders.c.closure.is_(None),
        purchases.c.unfrozen_fen + purchases.c.partial_refund_fen != orders.c.fare_fen,
    )
)

CHECKS: tuple[Check, ...] = (
    by_query("one_submit_per_purchase", _more_than_one(attempts.c.purchase_id)),
    by_query("one_open_payment_per_order", _more_than_one(attempts.c.order_no, _not_proven_unpaid)),
    by_query("one_open_payment_per_hold", _more_than_one(attempts.c.held_order_no, _not_proven_unpaid)),
    by_query("held_unpaid_is_proven", _ended_unproven),
    by_query("purchased_is_proven", _paid_unproven),
    by_query("settled_is_the_whole_fare", _settled_differs),
    by_query("only_unpaid_orders_are_imported_again", _live_again),
    by_query("no_purchase_is_forgotten", _forgotten),
    by_query("every_abnormal_has_its_task", _abnormal_without_task),
    by_query("orders_know_their_latest_purchase", _generation_differs),
    by_query("no_outcome_is_left_untold", _untold),
    by_query("every_end_has_its_callback", _nothing_to_tell),
    by_query("no_password_outlives_its_purchase", _password_kept),
)
