"""How a purchase ends, and everything that must be true at once when it does.

Stages, the relay, agents' requests and people all end purchases; they do it through these functions, inside their own
transaction, so that state, ledger, callback, result, dead letter and task can't drift apart.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pipeline.ledger import full_refund, void
from pipeline.reasons import PAY_STATUS, RULES, Outcome, Reason
from pipeline.refunds import book_refunds
from pipeline.retry import AGAIN_CAP_S
from pipeline.stage import MAX_UNEXPECTED
from pipeline.states import BEFORE_INTENT, Closure, PurchaseState
from pipeline.store import attempts, callbacks, dead_letters, history, ledger, orders, recovery, results, tasks, work
from pipeline.store.clock import now
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Row, Transaction
from pipeline.store.work import Step, WorkRow, work_key

PUT_OFF_FIRST_S = 2.0
CONCLUDABLE = (PurchaseState.PAYING, PurchaseState.IN_DOUBT)


def tell_agent(tx: Transaction, purchase: Row[Any], outcome: Outcome) -> None:
    """There is an outcome to tell: a callback row, and the order's notification row due now."""
    callbacks.prepare(tx, purchase.order_no, purchase.generation, purchase.agent, PAY_STATUS[outcome])
    moment = now(tx)
    work.bring_forward(tx, purchase.order_no, Step.TELL, urgency=moment, due_at=None, now=moment)


def end_before_intent(
    tx: Transaction,
    purchase: Row[Any],
    reason: Reason,
    detail: str,
    *,
    stage: str,
    actor: str,
    own_act: bool = False,
    attempts_made: int = 0,
    asked: bool = False,
) -> bool:
    """End a purchase that has no intent as held_unpaid. False: the intent, or another end, came first, or a restore may have
    forgotten its payment and a person is asked.

    `own_act`: the agent itself closed the order (CONFIRM, NO_TICKET): no callback and no dead letter.
    `asked`: 12306 has just been asked about this very hold, and does not list it as paid.
    """
    attempts.close_open(tx, purchase.id, reason.value)
    if asked:
        recovery.answered(tx, purchase.order_no, actor, f"{reason}: {detail}")
    elif recovery.in_question(tx, purchase.order_no, purchase.accepted_at):
        _leave_in_question(tx, purchase, reason, detail, stage=stage, actor=actor, attempts_made=attempts_made)
        return False
    if not orders.end_before_intent(tx, purchase.id, reason, detail):
        return False
    # One that was opened after the first look is visible now, and no other can follow. Left open it would bind its hold.
    attempts.close_open(tx, purchase.id, reason.value)
    steps = (Step.CREDENTIALS, Step.PAY)
    work.remove(tx, [work_key(purchase.order_no, purchase.generation, step) for step in steps])
    _held_unpaid(tx, purchase, reason, detail, stage=stage, actor=actor, own_act=own_act, attempts_made=attempts_made)
    return True


def _leave_in_question(
    tx: Transaction,
    purchase: Row[Any],
    reason: Reason,
    detail: str,
    *,
    stage: str,
    actor: str,
    attempts_made: int,
) -> None:
    """It would end now, but it may have been paid before a restore: a person finds out, and ends it with this reason."""
    found = orders.load_purchases(tx, [purchase.id])[purchase.id]
    if found.state not in BEFORE_INTENT or found.intent_at is not None:
        return
    if found.state == PurchaseState.PAYING:
        orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.READY)
    steps = (Step.CREDENTIALS, Step.PAY)
    work.remove(tx, [work_key(purchase.order_no, purchase.generation, step) for step in steps])
    _dead_letter(tx, found, reason, detail, stage, attempts_made)
    if recovery.ask(tx, purchase.id, purchase.order_no, found.held_order_no):
        history.tell(tx, purchase.order_no, "recovered_hold", actor, generation=purchase.generation, reason=reason)


def conclude_unpaid(
    tx: Transaction, purchase: Row[Any], attempt: Row[Any], proof: str, reason: Reason, detail: str, *, actor: str
) -> bool:
    """Proven after the intent: our money did not move. The hold goes back. False: another end came first."""
    was = PurchaseState(purchase.state)
    if was not in CONCLUDABLE:
        return False  # it moved since it was listed
    if not orders.end(tx, purchase.id, was, PurchaseState.HELD_UNPAID, reason, detail, 0):
        return False
    attempts.conclude(tx, attempt.id, proof, 0, detail)
    ledger.apply(tx, [void(purchase.agent, purchase.order_no, attempt.id, attempt.amount_fen)])
    book_refunds(tx, purchase.order_no)  # one that waited for a post waits in vain: a task
    work.remove(tx, [work_key(purchase.order_no, purchase.generation, Step.ASK)])
    _held_unpaid(
        tx, purchase, reason, detail, stage="payment", actor=actor, own_act=False, attempts_made=attempt.questions
    )
    return True


def conclude_paid(tx: Transaction, purchase: Row[Any], attempt: Row[Any], debited_fen: int, *, actor: str) -> bool:
    """Proven: paid and ticketed. Settlement is due, the agent is told 1. False: another end came first."""
    if not orders.end(tx, purchase.id, PurchaseState.IN_DOUBT, PurchaseState.PURCHASED, None, "", debited_fen):
        return False
    attempts.conclude(tx, attempt.id, "paid", debited_fen, "")
    purchased(tx, purchase, actor=actor, debited_fen=debited_fen)
    return True


def purchased(tx: Transaction, purchase: Row[Any], *, actor: str, debited_fen: int) -> None:
    """What follows once the state is purchased, by proof or by a person."""
    work.remove(tx, [work_key(purchase.order_no, purchase.generation, Step.ASK)])
    work.add(tx, purchase.order_no, purchase.generation, Step.SETTLE, urgency=purchase.stop_at)
    tell_agent(tx, purchase, Outcome.PURCHASED)
    results.emit(tx, purchase.order_no, purchase.generation, "purchase.purchased")
    history.tell(tx, purchase.order_no, "purchased", actor, generation=purchase.generation, debited_fen=debited_fen)


def conclude_abnormal(
    tx: Transaction,
    purchase: Row[Any],
    attempt: Row[Any] | None,
    reason: Reason,
    detail: str,
    *,
    actor: str,
    debited_fen: int | None = None,
) -> bool:
    """Money moved, or may have, and it is not ticketed as asked: a person's task. The hold stays in flight.

    `debited_fen`: what the cashier said it took, None where nobody knows.
    """
    was = PurchaseState(purchase.state)
    if was not in CONCLUDABLE:
        return False  # it moved since it was listed
    if not orders.end(tx, purchase.id, was, PurchaseState.PAID_ABNORMAL, reason, detail, debited_fen or 0):
        return False
    if attempt is not None:
        attempts.note_debit(tx, attempt.id, debited_fen, detail)
    steps = (Step.CREDENTIALS, Step.PAY, Step.ASK)
    work.remove(tx, [work_key(purchase.order_no, purchase.generation, step) for step in steps])
    tell_agent(tx, purchase, Outcome.PAID_ABNORMAL)
    results.emit(tx, purchase.order_no, purchase.generation, "purchase.paid_abnormal")
    tasks.open_task(tx, "close_abnormal", purchase.order_no, f"{purchase.id}:close", f"{reason}: {detail}")
    questions = 0 if attempt is None else attempt.questions
    _dead_letter(tx, purchase, reason, detail, "payment", questions)
    history.tell(
        tx, purchase.order_no, "paid_abnormal", actor, generation=purchase.generation, reason=reason, words=detail
    )
    return True


def _held_unpaid(
    tx: Transaction,
    purchase: Row[Any],
    reason: Reason,
    detail: str,
    *,
    stage: str,
    actor: str,
    own_act: bool,
    attempts_made: int,
) -> None:
    results.emit(tx, purchase.order_no, purchase.generation, "purchase.held_unpaid")
    history.tell(
        tx, purchase.order_no, "held_unpaid", actor, generation=purchase.generation, reason=reason, words=detail
    )
    if not own_act:
        tell_agent(tx, purchase, Outcome.HELD_UNPAID)
        _dead_letter(tx, purchase, reason, detail, stage, attempts_made)
    apply_kept(tx, purchase.order_no, actor=actor)


def _dead_letter(
    tx: Transaction, purchase: Row[Any], reason: Reason, detail: str, stage: str, attempts_made: int
) -> None:
    # What made the purchase end may have been told before by a stage that gave up; then that one stays. That an agent could
    # not be told something is another matter.
    letters = dead_letters.open_of(tx, purchase.order_no)
    if any(row.generation == purchase.generation and row.stage != "notification" for row in letters):
        return
    facts = DeadLetterFacts(
        stage=stage,
        order_no=purchase.order_no,
        generation=purchase.generation,
        agent=purchase.agent,
        reason=reason,
        detail=detail or RULES[reason].words,
        attempts=attempts_made,
        amount_fen=purchase.stated_fen or purchase.fare_fen,
        deadline=purchase.hold_deadline,
    )
    dead_letters.add(tx, facts)


def give_up(tx: Transaction, row: WorkRow, reason: Reason, detail: str, *, actor: str) -> None:
    """A stage can't finish this row: it becomes a dead letter, the purchase stays as it stands.

    Without an intent the relay ends the purchase at `stop_at`, with this reason; after it questions go on by their own row.
    """
    work.remove(tx, [row.key])
    purchase = orders.load_purchases(tx, [row.purchase_id]).get(row.purchase_id)
    order = orders.load(tx, [row.order_no])[row.order_no]
    stage = work.STAGE_OF[row.step]
    facts = DeadLetterFacts(
        stage=stage,
        order_no=row.order_no,
        generation=row.generation,
        agent=order.agent,
        reason=reason,
        detail=detail,
        attempts=row.tries + 1,
        amount_fen=order.fare_fen if purchase is None else purchase.stated_fen or purchase.fare_fen,
        deadline=None if purchase is None else purchase.hold_deadline,
        first_at=row.first_failed_at,
    )
    dead_letters.add(tx, facts)
    history.tell(tx, row.order_no, "dead_letter", actor, generation=row.generation, stage=stage, reason=reason)


def put_off(tx: Transaction, row: WorkRow, error: str, *, actor: str) -> None:
    """An exception nobody named, outside of a call: again later, in the end a dead letter."""
    if row.tries + 1 >= MAX_UNEXPECTED and row.step is not Step.ASK:  # nothing ever stops the questions
        give_up(tx, row, Reason.UNEXPECTED_ERROR, error, actor=actor)
        return
    due_at = now(tx) + timedelta(seconds=min(PUT_OFF_FIRST_S * 2.0**row.tries, AGAIN_CAP_S))
    work.again(tx, row, due_at, error)


def apply_kept(tx: Transaction, order_no: str, *, actor: str) -> None:
    """The purchase ended unpaid: a CONFIRM or a granted refund that was kept meanwhile happens now (DESIGN section 5)."""
    order = orders.load(tx, [order_no])[order_no]
    if order.closure is not None:
        return
    if order.kept_confirm is not None:
        close_offline(tx, order, order.kept_confirm, actor=actor)
    elif order.kept_refund:
        refund_in_full(tx, order, Closure.REFUNDED, {"granted": True}, actor=actor)


def close_offline(
    tx: Transaction, order: Row[Any], detail: dict[str, Any], *, actor: str, cancel_callbacks: bool = False
) -> bool:
    """Ticketed offline: closed, unfrozen after departure (现有模式)."""
    if not orders.close(tx, order.order_no, order.generation, Closure.TICKETED_OFFLINE, detail):
        return False
    orders.update_order(tx, order.order_no, tickets=detail.get("tickets"))
    work.add(tx, order.order_no, 0, Step.DEPARTURE, urgency=order.departure_at, due_at=max(order.departure_at, now(tx)))
    if cancel_callbacks:
        callbacks.cancel_pending(tx, order.order_no)
    history.tell(tx, order.order_no, "ticketed_offline", actor, tickets=len(detail.get("tickets") or ()))
    return True


def refund_in_full(
    tx: Transaction,
    order: Row[Any],
    how: Closure,
    detail: dict[str, Any],
    *,
    actor: str,
    cancel_callbacks: bool = False,
) -> bool:
    """Closed without a ticket: what is still frozen goes back to the user."""
    if not orders.close(tx, order.order_no, order.generation, how, detail):
        return False
    if order.frozen_fen > 0 and orders.thaw(tx, order.order_no):
        ledger.apply(tx, [full_refund(order.agent, order.order_no, order.frozen_fen)])
    if cancel_callbacks:
        callbacks.cancel_pending(tx, order.order_no)
    history.tell(tx, order.order_no, how.value, actor, refunded_fen=order.frozen_fen)
    return True
