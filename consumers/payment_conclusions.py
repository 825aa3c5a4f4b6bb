"""What each result of a payment call makes true, under the fence of its work row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

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
from pipeline.endings import Paid, Proof, Unpaid
from pipeline.ports import Randomness, SubmitKind
from pipeline.proof import Finding, Proven
from pipeline.reasons import Reason
from pipeline.retry import again_after, question_after
from pipeline.states import PurchaseState
from pipeline.store import attempts, history, orders, work
from pipeline.store.clock import now, stamp
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.work import Later, WorkRow

ACTOR = "system:payment"
FIRST_AGAIN_S = 2.0
LAST_TRY_S = 10.0  # what a look and an intent take, with room
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """A submitted attempt that is not concluded, and what the questions about it proved."""

    row: WorkRow
    purchase: Row[Any]
    attempt: Row[Any]
    finding: Finding
    in_doubt: bool  # false: its purchase has moved on


def conclude_all(
    tx: Transaction, results: Sequence[PaymentResult], list_retry_s: float, randomness: Randomness
) -> None:
    """Record results, one per purchase. What is no longer ours by its fence changes nothing."""
    _ended(tx, _of(results, Ended))
    for result in _of(results, FoundAbnormal):
        _found_abnormal(tx, result)
    for lost in _of(results, IntentLost):
        _intent_lost(tx, lost.item)
    _again(tx, _of(results, Again), randomness)
    weighed = [*_submitted(tx, _of(results, Submitted)), *_asked(tx, _of(results, Asked))]
    _conclude_weighed(tx, weighed, list_retry_s, randomness)


def _of(results: Sequence[PaymentResult], kind: type[R]) -> list[R]:
    return [result for result in results if isinstance(result, kind)]


def _ended(tx: Transaction, results: Sequence[Ended]) -> None:
    if not results:
        return
    ours = work.finish_all(tx, [result.item.row for result in results])
    lost = [(each.item.attempt_id, "lease_lost") for each in results if each.item.key not in ours]
    attempts.close_all(tx, lost)
    ending = [each for each in results if each.item.key in ours]
    purchases = orders.load_purchases(tx, [each.item.purchase_id for each in ending])
    ends = [
        Unpaid(
            purchases[each.item.purchase_id],
            each.reason,
            each.detail,
            attempts_made=each.item.row.tries + 1,
            asked=each.asked,
        )
        for each in ending
    ]
    endings.end_all_before_intent(tx, ends, stage="payment", actor=ACTOR)


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
    moment = stamp(tx)
    due_at = moment + timedelta(seconds=delay_s)
    if isinstance(item, AskItem):
        return due_at
    last = item.stop_at - timedelta(seconds=LAST_TRY_S)
    return min(due_at, last) if last > moment else due_at


def _again(tx: Transaction, results: Sequence[Again], randomness: Randomness) -> None:
    later = []
    for result in results:
        row, delay_s = result.item.row, result.delay_s
        if delay_s is None:
            delay_s = again_after(row.tries + 1, FIRST_AGAIN_S, randomness)
        later.append(Later(row, due_after(tx, result.item, delay_s), result.error, counts=result.counts))
    ours = work.again_all(tx, later)
    pays = [(each, each.item) for each in results if isinstance(each.item, PayItem)]
    closed = attempts.close_all(tx, [(item.attempt_id, each.error) for each, item in pays])
    # The others: another worker has it by now, or whoever stopped it has ended the purchase.
    back = [(each, item) for each, item in pays if item.attempt_id in closed and item.key in ours]
    ids = [item.purchase_id for _each, item in back]
    orders.move_all(tx, ids, PurchaseState.PAYING, PurchaseState.READY)
    lines = [
        Line(item.row.order_no, "payment_put_off", ACTOR, {"generation": item.row.generation, "error": each.error})
        for each, item in back
    ]
    history.tell_all(tx, lines)


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


def _submitted(tx: Transaction, results: Sequence[Submitted]) -> list[_Weighed]:
    """What was not sent or refused is over; the rest is in doubt, with what its first questions found."""
    if not results:
        return []
    ids = [each.item.purchase_id for each in results]
    purchases, submitted = orders.load_purchases(tx, ids), attempts.submitted(tx, ids)
    proofs, unclear = [], []
    for each in results:
        purchase, attempt = purchases[each.item.purchase_id], submitted[each.item.purchase_id]
        if purchase.state not in endings.CONCLUDABLE or attempt.id != each.item.attempt_id:
            continue  # the window ended while we were away; a person has it
        if each.answer.kind is SubmitKind.NOT_SENT:
            # Ours alone to know: no other worker can have sent it, so this holds whoever has the question row now.
            proofs.append(_proof(purchase, attempt, "not_sent", Reason.NOT_SENT, each.answer.detail))
        elif each.answer.kind is SubmitKind.REFUSED:
            proofs.append(_proof(purchase, attempt, "refused", Reason.PAY_REFUSED, each.answer.detail))
        else:
            unclear.append((each, purchase, attempt))
    endings.conclude_all_unpaid(tx, proofs, actor=ACTOR)
    fresh = [(each, purchase) for each, purchase, _ in unclear if purchase.state == PurchaseState.PAYING]
    # Those that are proven to have paid move on at once, in one step (`conclude_all_paid`).
    doubtful = [row.id for each, row in fresh if not _proven_paid(each)]
    moved = orders.move_all(tx, doubtful, PurchaseState.PAYING, PurchaseState.IN_DOUBT)
    lines = [
        Line(row.order_no, "in_doubt", ACTOR, {"generation": row.generation, "submit": each.answer.kind.value})
        for each, row in fresh
    ]
    history.tell_all(tx, lines)
    return [
        _Weighed(
            each.ask_row,
            purchase,
            attempt,
            each.finding or Finding(Proven.NOTHING),
            in_doubt=purchase.id in moved or purchase.state == PurchaseState.IN_DOUBT or _proven_paid(each),
        )
        for each, purchase, attempt in unclear
    ]


def _proven_paid(result: Submitted) -> bool:
    return result.finding is not None and result.finding.proven is Proven.PAID


def _proof(purchase: Row[Any], attempt: Row[Any], proof: str, reason: Reason, detail: str) -> Proof:
    return Proof(Unpaid(purchase, reason, detail, attempt.questions), attempt, proof)


def _asked(tx: Transaction, results: Sequence[Asked]) -> list[_Weighed]:
    if not results:
        return []
    ids = [each.item.purchase_id for each in results]
    purchases, submitted = orders.load_purchases(tx, ids), attempts.submitted(tx, ids)
    return [
        _Weighed(
            each.item.row,
            purchases[each.item.purchase_id],
            submitted[each.item.purchase_id],
            each.finding,
            in_doubt=purchases[each.item.purchase_id].state == PurchaseState.IN_DOUBT,
        )
        for each in results
        if submitted[each.item.purchase_id].concluded_at is None
    ]


def _conclude_weighed(
    tx: Transaction, weighed: Sequence[_Weighed], list_retry_s: float, randomness: Randomness
) -> None:
    if not weighed:
        return
    over = [each for each in weighed if not each.in_doubt]
    work.finish_all(tx, [each.row for each in over])
    live = _in_time(tx, [each for each in weighed if each.in_doubt])
    paid = [each for each in live if each.finding.proven is Proven.PAID]
    payments = [
        Paid(
            each.purchase,
            each.attempt,
            each.finding.debited_fen or each.attempt.amount_fen,
            asked=1,
            tickets=each.finding.tickets or None,
        )
        for each in paid
    ]
    endings.conclude_all_paid(tx, payments, actor=ACTOR)
    others = [each for each in live if each.finding.proven is not Proven.PAID]
    attempts.asked(tx, [each.attempt.id for each in (*others, *over)])
    now_in_doubt = orders.load_purchases(tx, [each.purchase.id for each in others]) if others else {}
    proofs = [
        _proof(
            now_in_doubt[each.purchase.id],
            each.attempt,
            "no_payment",
            each.finding.reason or Reason.UNPAID_AFTER_DEADLINE,
            "",
        )
        for each in others
        if each.finding.proven is Proven.UNPAID
    ]
    endings.conclude_all_unpaid(tx, proofs, actor=ACTOR)
    for each in others:
        if each.finding.proven is Proven.ABNORMAL:
            reason, fen = each.finding.reason or Reason.OUTCOME_UNKNOWN, each.finding.debited_fen
            purchase = now_in_doubt[each.purchase.id]
            endings.conclude_abnormal(tx, purchase, each.attempt, reason, "", actor=ACTOR, debited_fen=fen)
    unknown = [each for each in others if each.finding.proven is Proven.NOTHING]
    work.again_all(tx, [_ask_later(tx, each, list_retry_s, randomness) for each in unknown])


def _in_time(tx: Transaction, weighed: Sequence[_Weighed]) -> Sequence[_Weighed]:
    """What is proven only by being late must be late by the database's clock as well: a worker's can be wrong, or be set while
    it asks."""
    if not any(each.finding.by_time for each in weighed):
        return weighed
    moment, nothing = now(tx), Finding(Proven.NOTHING)
    return [
        replace(each, finding=nothing) if each.finding.by_time and moment <= each.attempt.final_after else each
        for each in weighed
    ]


def _ask_later(tx: Transaction, weighed: _Weighed, list_retry_s: float, randomness: Randomness) -> Later:
    moment, attempt = stamp(tx), weighed.attempt
    due_at = moment + timedelta(seconds=question_after(attempt.questions + 1, list_retry_s, randomness))
    if moment < attempt.final_after < due_at:
        # The first answer that can prove "unpaid" is one to a question put after this moment: don't sleep past it.
        due_at = attempt.final_after + timedelta(milliseconds=1)
    elif weighed.row.due_at < attempt.final_after <= moment:
        due_at = moment  # put before that moment, answered after it: put once more at once
    return Later(weighed.row, due_at, None)
