"""Invariants of what was said: agents are told the last outcome, and AM every step, in order."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, distinct, exists, func, or_, select

from pipeline.reasons import PAY_STATUS, Reason
from pipeline.states import LIVE, PurchaseState, outcome_of
from pipeline.store.audit_checks import Invariant, Scope, Severity, Span, breaches, over, word
from pipeline.store.tables import callback_calls, callbacks, dead_letters, orders, purchases, results
from pipeline.store.work_keys import Step, has_row

C, U, R = callbacks.c, purchases.c, results.c
_STATUS = {state.value: PAY_STATUS[outcome] for state in PurchaseState if (outcome := outcome_of(state)) is not None}
_STATUS[PurchaseState.NEVER_DEBITED.value] = (
    "3"  # told before the person found out; who closes it tells the agent himself
)
_RESULT = {
    PurchaseState.PURCHASED: "purchased",
    PurchaseState.SETTLED: "settled",
    PurchaseState.HELD_UNPAID: "held_unpaid",
    PurchaseState.PAID_ABNORMAL: "paid_abnormal",
    PurchaseState.REFUNDED: "refunded",
    PurchaseState.NEVER_DEBITED: "held_unpaid",
}
_status_of = case(_STATUS, value=U.state)
_of_purchase = callbacks.outerjoin(purchases, and_(U.order_no == C.order_no, U.generation == C.generation))


@over(Scope.ORDERS, Severity.ORDER, "N06")
def no_outcome_is_left_untold(span: Span) -> Select[Any]:
    """Whatever is still to be told to an agent has its work row, or an open dead letter.

    Broken: the agent waits for an answer that nobody will send.
    Do: nothing, if it is gone by the next audit: the relay puts the row back; else `daifu callbacks resend`.
    """
    row = has_row(C.order_no, Step.TELL)
    d = dead_letters.c
    open_letter = (d.state == word("open"), d.order_no.is_not(None), d.order_no == C.order_no)
    letter = exists(select(d.id).where(*open_letter, d.stage == "notification"))
    return breaches(C.webhook_id, C.order_no).where(span.of(C.order_no), C.state == "pending", ~row, ~letter)


@over(Scope.ORDERS, Severity.ORDER, "N01")
def every_end_has_its_callback(span: Span) -> Select[Any]:
    """Every outcome has the callback that tells it, but for the end that the agent itself asked for.

    Broken: the agent was never told how its order ended.
    Do: report it; tell the agent by hand.
    """
    told = exists(
        select(C.id).where(C.order_no == U.order_no, C.generation == U.generation, C.pay_status == _status_of)
    )
    # The agent's own CONFIRM or NO_TICKET ends a purchase without a word: it knows.
    own_act = func.coalesce(U.reason, "") == Reason.WITHDRAWN.value
    return breaches(U.id, U.order_no).where(
        span.of(U.order_no), U.state.not_in(sorted(state.value for state in LIVE)), ~own_act, ~told
    )


@over(Scope.ORDERS, Severity.ORDER, "N01 N05")
def only_the_last_outcome_is_told(span: Span) -> Select[Any]:
    """What is still to be told is the outcome of the order's latest purchase, and nothing else.

    Broken: an agent will be told something that is not so any more, perhaps "unpaid" about a purchase at work.
    Do: `daifu pause stage notification` until it is understood.
    """
    joined = _of_purchase.outerjoin(orders, orders.c.order_no == C.order_no)
    outdated = or_(
        U.id.is_(None), C.generation != orders.c.generation, C.pay_status != func.coalesce(_status_of, C.pay_status)
    )
    return (
        breaches(C.webhook_id, C.order_no)
        .select_from(joined)
        .where(span.of(C.order_no), C.state == "pending", outdated)
    )


@over(Scope.ORDERS, Severity.MONEY, "N04 N05")
def what_was_told_was_decided(span: Span) -> Select[Any]:
    """An agent was told 1 only of what was purchased, 2 only of what ended unpaid, and 3 only of what was submitted or is
    paid elsewhere.

    Broken: an agent acted on a word that was wrong: it may have taken seats twice, or given them up.
    Do: call the agent.
    """
    decided = {
        "1": ("purchased", "settled"),
        "2": ("held_unpaid",),
    }
    wrong = [and_(C.pay_status == status, U.state.not_in(states)) for status, states in decided.items()]
    wrong.append(and_(C.pay_status == "3", U.intent_at.is_(None), U.state.not_in(("paid_abnormal", "never_debited"))))
    return (
        breaches(C.webhook_id, C.order_no)
        .select_from(_of_purchase)
        .where(span.of(C.order_no), C.state == "delivered", or_(U.id.is_(None), *wrong))
    )


@over(Scope.ORDERS, Severity.RECORD, "N03 N07")
def delivered_has_its_call(span: Span) -> Select[Any]:
    """A callback counts as delivered only where a call of it was answered with true.

    Broken: nobody can prove that the agent was told.
    Do: `daifu callbacks resend`: telling twice harms nobody.
    """
    answered = exists(
        select(callback_calls.c.id).where(callback_calls.c.callback_id == C.id, callback_calls.c.delivered.is_(True))
    )
    return breaches(C.webhook_id, C.order_no).where(span.of(C.order_no), C.state == "delivered", ~answered)


@over(Scope.ORDERS, Severity.ORDER, "N06")
def an_exhausted_callback_is_a_dead_letter(span: Span) -> Select[Any]:
    """A callback that was given up has its dead letter, so that a person sees it.

    Broken: the agent does not know how its order ended, and nobody knows that it doesn't.
    Do: `daifu callbacks resend`.
    """
    d = dead_letters.c
    letter = exists(
        select(d.id).where(d.order_no == C.order_no, d.generation == C.generation, d.stage == "notification")
    )
    newer = callbacks.alias("newer")
    overtaken = exists(select(newer.c.id).where(newer.c.order_no == C.order_no, newer.c.id > C.id))
    return breaches(C.webhook_id, C.order_no).where(span.of(C.order_no), C.state == "exhausted", ~letter, ~overtaken)


def _told_am(kind: ColumnElement[str] | str) -> ColumnElement[bool]:
    return exists(select(R.row_key).where(R.row_key == U.id + ":purchase." + kind))


@over(Scope.ORDERS, Severity.ORDER)
def every_step_has_its_result(span: Span) -> Select[Any]:
    """AM is told of every accepted purchase and of the state it stands in now.

    Broken: AM shows its users another state than ours.
    Do: report it: `daifu events resend` sends only what was written.
    """
    stands = case({state.value: kind for state, kind in _RESULT.items()}, value=U.state, else_="accepted")
    return breaches(U.id, U.order_no).where(span.of(U.order_no), or_(~_told_am("accepted"), ~_told_am(stands)))


@over(Scope.ORDERS, Severity.ORDER)
def results_count_up(span: Span) -> Select[Any]:
    """The results of an order are numbered 1, 2, 3 … without a gap and none twice.

    Broken: AM can't tell which of two results is the newer one, or waits for one that never comes.
    Do: report it; AM should read the order's state anew.
    """
    counted = (
        select(
            R.order_no,
            func.count().label("n"),
            func.count(distinct(R.seq)).label("different"),
            func.max(R.seq).label("last"),
        )
        .where(span.of(R.order_no))
        .group_by(R.order_no)
        .subquery()
    )
    n = func.coalesce(counted.c.n, 0)
    # Refusals from before the order was known are numbered too; the order counts on from them with its first result.
    behind = and_(orders.c.result_seq != 0, orders.c.result_seq != n)
    return (
        breaches(orders.c.order_no, orders.c.order_no)
        .select_from(orders.outerjoin(counted, counted.c.order_no == orders.c.order_no))
        .where(span.of(orders.c.order_no), or_(behind, counted.c.different != n, counted.c.last != n))
    )


INVARIANTS: tuple[Invariant, ...] = (
    no_outcome_is_left_untold,
    every_end_has_its_callback,
    only_the_last_outcome_is_told,
    what_was_told_was_decided,
    delivered_has_its_call,
    an_exhausted_callback_is_a_dead_letter,
    every_step_has_its_result,
    results_count_up,
)
