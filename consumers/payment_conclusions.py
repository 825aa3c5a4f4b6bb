"""What each result of a payment call makes true, under the fence of its work row."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from consumers.payment_items import (
    Again,
    Asked,
    AskItem,
    Ended,
    FoundAbnormal,
    IntentLost,
    PayItem,
    PaymentResult,
    Submitted,
)
from pipeline import endings
from pipeline.ports import Randomness, SubmitKind
from pipeline.proof import Finding, Proven
from pipeline.reasons import Reason
from pipeline.retry import again_after, question_after
from pipeline.states import PurchaseState
from pipeline.store import attempts, history, orders, work
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.work import WorkRow

ACTOR = "system:payment"
FIRST_AGAIN_S = 2.0
LAST_TRY_S = 10.0  # what a look and an intent take, with room


def conclude(tx: Transaction, result: PaymentResult, list_retry_s: float, randomness: Randomness) -> None:
    """Record one result. What is no longer ours by its fence changes nothing."""
    if isinstance(result, Submitted):
        _submitted(tx, result, list_retry_s, randomness)
    elif isinstance(result, Asked):
        _asked(tx, result.item, result.finding, list_retry_s, randomness)
    elif isinstance(result, Ended):
        _ended(tx, result)
    elif isinstance(result, FoundAbnormal):
        _found_abnormal(tx, result)
    elif isinstance(result, IntentLost):
        _intent_lost(tx, result.item)
    else:
        _again(tx, result, randomness)


def _ended(tx: Transaction, result: Ended) -> None:
    item = result.item
    if not work.finish(tx, item.row):
        attempts.close_one(tx, item.attempt_id, "lease_lost")
        return
    purchase = orders.load_purchases(tx, [item.purchase_id])[item.purchase_id]
    endings.end_before_intent(
        tx,
        purchase,
        result.reason,
        result.detail,
        stage="payment",
        actor=ACTOR,
        attempts_made=item.row.tries + 1,
        asked=result.asked,
    )


def _found_abnormal(tx: Transaction, result: FoundAbnormal) -> None:
    item = result.item
    if not attempts.close_one(tx, item.attempt_id, result.reason):
        # A pause closed it, or the purchase has ended; what the look found must not be forgotten with the row.
        work.again(tx, item.row, now(tx), "stopped", counts=False)
        return
    if not work.finish(tx, item.row):
        return
    purchase = orders.load_purchases(tx, [item.purchase_id])[item.purchase_id]
    endings.conclude_abnormal(tx, purchase, None, result.reason, result.detail, actor=ACTOR)


def due_after(tx: Transaction, item: PayItem | AskItem, delay_s: float) -> datetime:
    """`delay_s` from now; before the intent never past `stop_at`, as long as a last try fits in."""
    moment = now(tx)
    due_at = moment + timedelta(seconds=delay_s)
    if isinstance(item, AskItem):
        return due_at
    last = item.stop_at - timedelta(seconds=LAST_TRY_S)
    return min(due_at, last) if last > moment else due_at


def _again(tx: Transaction, result: Again, randomness: Randomness) -> None:
    item = result.item
    delay_s = result.delay_s
    if delay_s is None:
        delay_s = again_after(item.row.tries + 1, FIRST_AGAIN_S, randomness)
    ours = work.again(tx, item.row, due_after(tx, item, delay_s), result.error, counts=result.counts)
    if isinstance(item, AskItem):
        return
    if not attempts.close_one(tx, item.attempt_id, result.error) or not ours:
        return  # another worker has it by now, or whoever stopped it has ended the purchase
    orders.move(tx, item.purchase_id, PurchaseState.PAYING, PurchaseState.READY)
    history.tell(tx, item.row.order_no, "payment_put_off", ACTOR, generation=item.row.generation, error=result.error)


def _intent_lost(tx: Transaction, item: PayItem) -> None:
    """The intent's commit gave no answer and nothing was sent: not stored, try again; stored, it is proven not sent."""
    if attempts.close_one(tx, item.attempt_id, "intent_lost"):
        if work.again(tx, item.row, now(tx), "intent_lost", counts=False):
            orders.move(tx, item.purchase_id, PurchaseState.PAYING, PurchaseState.READY)
        return
    attempt = attempts.submitted(tx, [item.purchase_id]).get(item.purchase_id)
    if attempt is None or attempt.id != item.attempt_id or attempt.concluded_at is not None:
        return
    purchase = orders.load_purchases(tx, [item.purchase_id])[item.purchase_id]
    if purchase.state in (PurchaseState.PAYING, PurchaseState.IN_DOUBT):
        endings.conclude_unpaid(tx, purchase, attempt, "not_sent", Reason.NOT_SENT, "意图已记录,未发出", actor=ACTOR)


def _submitted(tx: Transaction, result: Submitted, list_retry_s: float, randomness: Randomness) -> None:
    item, answer = result.item, result.answer
    purchase = orders.load_purchases(tx, [item.purchase_id])[item.purchase_id]
    attempt = attempts.submitted(tx, [item.purchase_id])[item.purchase_id]
    live = purchase.state in (PurchaseState.PAYING, PurchaseState.IN_DOUBT)
    if not live or attempt.id != item.attempt_id:
        return  # the window ended while we were away; a person has it
    if answer.kind is SubmitKind.NOT_SENT:
        # Ours alone to know: no other worker can have sent it, so this holds whoever has the question row now.
        endings.conclude_unpaid(tx, purchase, attempt, "not_sent", Reason.NOT_SENT, answer.detail, actor=ACTOR)
        return
    if answer.kind is SubmitKind.REFUSED:
        endings.conclude_unpaid(tx, purchase, attempt, "refused", Reason.PAY_REFUSED, answer.detail, actor=ACTOR)
        return
    if purchase.state == PurchaseState.PAYING:
        orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.IN_DOUBT)
        history.tell(tx, item.row.order_no, "in_doubt", ACTOR, generation=item.row.generation, submit=answer.kind.value)
    finding = result.finding or Finding(Proven.NOTHING)
    _weighed(tx, result.ask_row, item.purchase_id, attempt, finding, list_retry_s, randomness)


def _asked(tx: Transaction, item: AskItem, finding: Finding, list_retry_s: float, randomness: Randomness) -> None:
    attempt = attempts.submitted(tx, [item.purchase_id])[item.purchase_id]
    if attempt.concluded_at is None:
        _weighed(tx, item.row, item.purchase_id, attempt, finding, list_retry_s, randomness)


def _weighed(
    tx: Transaction,
    row: WorkRow,
    purchase_id: str,
    attempt: Row[Any],
    finding: Finding,
    list_retry_s: float,
    randomness: Randomness,
) -> None:
    attempts.asked(tx, attempt.id)
    purchase = orders.load_purchases(tx, [purchase_id])[purchase_id]
    if purchase.state != PurchaseState.IN_DOUBT:
        work.finish(tx, row)
        return
    if finding.proven is Proven.PAID:
        endings.conclude_paid(tx, purchase, attempt, finding.debited_fen or attempt.amount_fen, actor=ACTOR)
    elif finding.proven is Proven.UNPAID:
        reason = finding.reason or Reason.UNPAID_AFTER_DEADLINE
        endings.conclude_unpaid(tx, purchase, attempt, "no_payment", reason, "", actor=ACTOR)
    elif finding.proven is Proven.ABNORMAL:
        reason = finding.reason or Reason.OUTCOME_UNKNOWN
        endings.conclude_abnormal(tx, purchase, attempt, reason, "", actor=ACTOR, debited_fen=finding.debited_fen)
    else:
        _ask_later(tx, row, attempt, list_retry_s, randomness)


def _ask_later(tx: Transaction, row: WorkRow, attempt: Row[Any], list_retry_s: float, randomness: Randomness) -> None:
    moment = now(tx)
    due_at = moment + timedelta(seconds=question_after(attempt.questions + 1, list_retry_s, randomness))
    if moment < attempt.final_after < due_at:
        # The first answer that can prove "unpaid" is one to a question put after this moment: don't sleep past it.
        due_at = attempt.final_after + timedelta(milliseconds=1)
    work.again(tx, row, due_at, None)
