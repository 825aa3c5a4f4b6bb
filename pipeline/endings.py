"""How purchases end, and everything that must be true at once when they do.

Stages, the relay, agents' requests and people all end purchases; they do it through these functions, inside their own
transaction, so that state, ledger, callback, result, dead letter and task can't drift apart. Each function takes a whole batch
and says which purchases it ended; of the others another end came first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.closings import apply_kept
from pipeline.ledger import void
from pipeline.reasons import PAY_STATUS, RULES, Outcome, Reason
from pipeline.refunds import book_refunds
from pipeline.states import BEFORE_INTENT, PurchaseState
from pipeline.store import attempts, callbacks, dead_letters, history, ledger, orders, recovery, results, tasks, work
from pipeline.store.attempts import Conclusion
from pipeline.store.callbacks import Telling
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.purchases import End
from pipeline.store.work import NewRow, Step, work_key

CONCLUDABLE = (PurchaseState.PAYING, PurchaseState.IN_DOUBT)


@dataclass(frozen=True, slots=True)
class Unpaid:
    """A purchase that ends as held_unpaid. `attempts_made` is what its dead letter says.

    `asked`: 12306 has just been asked about this very hold, and does not list it as paid.
    """

    purchase: Row[Any]
    reason: Reason
    detail: str
    attempts_made: int = 0
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves that a submitted attempt did not move our money: refused | not_sent | no_payment."""

    unpaid: Unpaid
    attempt: Row[Any]
    proof: str


class Paid(NamedTuple):
    """A submitted attempt that was proven to have paid. `asked`: the questions that proved it, still to be counted."""

    purchase: Row[Any]
    attempt: Row[Any]
    debited_fen: int
    asked: int = 0
    tickets: Sequence[Mapping[str, Any]] | None = None  # as 12306 lists them


def tell_agents(tx: Transaction, purchases: Sequence[Row[Any]], outcome: Outcome) -> None:
    """There are outcomes to tell: callback rows, and the orders' notification rows due now."""
    status = PAY_STATUS[outcome]
    # The rows first: whoever holds one to write a provisional 3 has committed that by then, so it is seen and superseded.
    there = all(each.intent_at is not None for each in purchases)  # for the provisional 3
    work.bring_forward_all(tx, [NewRow(each.order_no, 0, Step.TELL) for each in purchases], there=there)
    callbacks.prepare_all(tx, [Telling(each.order_no, each.generation, each.agent, status) for each in purchases])


def end_all_before_intent(
    tx: Transaction, ends: Sequence[Unpaid], *, stage: str, actor: str, own_act: bool = False
) -> set[str]:
    """End purchases that have no intent as held_unpaid; the ids of those that ended. Of the others the intent, or another end,
    came first, or a restore may have forgotten their payment and a person is asked.

    `own_act`: the agent itself closed the order (CONFIRM, NO_TICKET): no callback and no dead letter.
    """
    if not ends:
        return set()
    closing = [(each.purchase.id, each.reason.value) for each in ends]
    attempts.close_open_all(tx, closing)
    ends = _not_in_question(tx, ends, stage=stage, actor=actor)
    ended = orders.end_before_intent(tx, [(each.purchase.id, each.reason, each.detail) for each in ends])
    # Those opened after the first look are visible now, and no other can follow. Left open they would bind their holds.
    attempts.close_open_all(tx, [(key, why) for key, why in closing if key in ended])
    done = [each for each in ends if each.purchase.id in ended]
    work.remove(tx, [key for each in done for key in _keys(each.purchase, Step.CREDENTIALS, Step.PAY)])
    _held_unpaid(tx, done, ended, stage=stage, actor=actor, own_act=own_act)
    return set(ended)


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
    """The same for one purchase."""
    end = Unpaid(purchase, reason, detail, attempts_made, asked)
    return bool(end_all_before_intent(tx, [end], stage=stage, actor=actor, own_act=own_act))


def _not_in_question(tx: Transaction, ends: Sequence[Unpaid], *, stage: str, actor: str) -> list[Unpaid]:
    """Those that may end. After a restore a person finds out about the others, and ends them with this reason."""
    if recovery.restored_at(tx) is None:
        return list(ends)
    clear = []
    for each in ends:
        purchase = each.purchase
        if each.asked:
            recovery.answered(tx, purchase.order_no, actor, f"{each.reason}: {each.detail}")
        elif recovery.in_question(tx, purchase.order_no, purchase.accepted_at):
            _leave_in_question(tx, each, stage=stage, actor=actor)
            continue
        clear.append(each)
    return clear


def _leave_in_question(tx: Transaction, end: Unpaid, *, stage: str, actor: str) -> None:
    purchase = end.purchase
    found = orders.load_purchases(tx, [purchase.id])[purchase.id]
    if found.state not in BEFORE_INTENT or found.intent_at is not None:
        return
    if found.state == PurchaseState.PAYING:
        orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.READY)
    work.remove(tx, _keys(purchase, Step.CREDENTIALS, Step.PAY))
    _dead_letters(tx, [end], stage)
    if recovery.ask(tx, purchase.id, purchase.order_no, found.held_order_no):
        history.tell(tx, purchase.order_no, "recovered_hold", actor, generation=purchase.generation, reason=end.reason)


def conclude_all_unpaid(tx: Transaction, proofs: Sequence[Proof], *, actor: str) -> set[str]:
    """Proven after the intent: our money did not move. The holds go back."""
    listed = [each for each in proofs if each.unpaid.purchase.state in CONCLUDABLE]  # the others moved since
    if not listed:
        return set()
    ended = orders.end_all(tx, [_end_of(each.unpaid, PurchaseState.HELD_UNPAID) for each in listed])
    done = [each for each in listed if each.unpaid.purchase.id in ended]
    purchases = [each.unpaid.purchase for each in done]
    attempts.conclude_all(tx, [Conclusion(each.attempt.id, each.proof, 0, each.unpaid.detail) for each in done])
    _doubt_over(tx, [each.attempt for each in done], PurchaseState.HELD_UNPAID, actor)
    voids = [
        void(row.agent, row.order_no, each.attempt.id, each.attempt.amount_fen)
        for each, row in zip(done, purchases, strict=True)
    ]
    ledger.apply(tx, voids)
    book_refunds(tx, [each.order_no for each in purchases])  # those that waited for a post wait in vain: tasks
    work.remove(tx, [key for each in purchases for key in _keys(each, Step.ASK)])
    _held_unpaid(tx, [each.unpaid for each in done], ended, stage="payment", actor=actor, own_act=False)
    return set(ended)


def conclude_unpaid(
    tx: Transaction, purchase: Row[Any], attempt: Row[Any], proof: str, reason: Reason, detail: str, *, actor: str
) -> bool:
    """The same for one purchase."""
    end = Unpaid(purchase, reason, detail, attempt.questions)
    return bool(conclude_all_unpaid(tx, [Proof(end, attempt, proof)], actor=actor))


def conclude_all_paid(tx: Transaction, payments: Sequence[Paid], *, actor: str) -> set[str]:
    """Proven: paid and ticketed. Settlement is due, the agents are told 1."""
    ends = [
        End(each.purchase.id, was, PurchaseState.PURCHASED, None, "", each.debited_fen, PurchaseState.IN_DOUBT)
        for each in payments
        if (was := PurchaseState(each.purchase.state)) in CONCLUDABLE
    ]
    ended = orders.end_all(tx, ends)
    done = [each for each in payments if each.purchase.id in ended]
    attempts.conclude_all(
        tx, [Conclusion(each.attempt.id, "paid", each.debited_fen, "", each.asked, each.tickets) for each in done]
    )
    _doubt_over(tx, [each.attempt for each in done], PurchaseState.PURCHASED, actor)
    purchased(tx, [(each.purchase, each.debited_fen) for each in done], ended, actor=actor)
    return set(ended)


def conclude_paid(tx: Transaction, purchase: Row[Any], attempt: Row[Any], debited_fen: int, *, actor: str) -> bool:
    """The same for one purchase."""
    return bool(conclude_all_paid(tx, [Paid(purchase, attempt, debited_fen)], actor=actor))


def purchased(
    tx: Transaction, done: Sequence[tuple[Row[Any], int]], standing: Mapping[str, Row[Any]], *, actor: str
) -> None:
    """What follows once (purchase, what was debited) is purchased, by proof or by a person. `standing`: of `orders.end_all`."""
    purchases = [purchase for purchase, _fen in done]
    work.remove(tx, [key for each in purchases for key in _keys(each, Step.ASK)])
    work.add_all(tx, [NewRow(each.order_no, each.generation, Step.SETTLE, each.stop_at) for each in purchases])
    tell_agents(tx, purchases, Outcome.PURCHASED)
    results.emit_all(tx, _named(purchases), "purchase.purchased", standing=standing)
    lines = [
        Line(each.order_no, "purchased", actor, {"generation": each.generation, "debited_fen": fen})
        for each, fen in done
    ]
    history.tell_all(tx, lines)


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

    `debited_fen`: what the cashier said it took, None where nobody knows. False: another end came first.
    """
    end = Unpaid(purchase, reason, detail, 0 if attempt is None else attempt.questions)
    if purchase.state not in CONCLUDABLE:
        return False  # it moved since it was listed
    if not orders.end_all(tx, [_end_of(end, PurchaseState.PAID_ABNORMAL, debited_fen or 0)]):
        return False
    if attempt is not None:
        attempts.note_debit(tx, attempt.id, debited_fen, detail)
        _doubt_over(tx, [attempt], PurchaseState.PAID_ABNORMAL, actor)
    work.remove(tx, _keys(purchase, Step.CREDENTIALS, Step.PAY, Step.ASK))
    tell_agents(tx, [purchase], Outcome.PAID_ABNORMAL)
    results.emit(tx, purchase.order_no, purchase.generation, "purchase.paid_abnormal")
    tasks.open_task(tx, "close_abnormal", purchase.order_no, f"{purchase.id}:close", f"{reason}: {detail}")
    _dead_letters(tx, [end], "payment")
    history.tell_all(tx, [_line("paid_abnormal", end, actor)])
    return True


def _doubt_over(tx: Transaction, concluded: Sequence[Row[Any]], outcome: PurchaseState, actor: str) -> None:
    """What was asked about may have been a person's task by now; what ended at its first answer was none."""
    asked = [attempt.order_no for attempt in concluded if attempt.questions]
    if asked:
        tasks.doubt_over(tx, asked, actor, outcome.value)


def _end_of(end: Unpaid, becomes: PurchaseState, paid_fen: int = 0) -> End:
    purchase = end.purchase
    return End(purchase.id, PurchaseState(purchase.state), becomes, end.reason, end.detail, paid_fen)


def _line(what: str, end: Unpaid, actor: str) -> Line:
    detail = {"generation": end.purchase.generation, "reason": end.reason, "words": end.detail}
    return Line(end.purchase.order_no, what, actor, detail)


def _named(purchases: Sequence[Row[Any]]) -> list[tuple[str, int]]:
    return [(each.order_no, each.generation) for each in purchases]


def _keys(purchase: Row[Any], *steps: Step) -> list[str]:
    return [work_key(purchase.order_no, purchase.generation, step) for step in steps]


def _held_unpaid(
    tx: Transaction, ends: Sequence[Unpaid], standing: Mapping[str, Row[Any]], *, stage: str, actor: str, own_act: bool
) -> None:
    purchases = [each.purchase for each in ends]
    results.emit_all(tx, _named(purchases), "purchase.held_unpaid", standing=standing)
    history.tell_all(tx, [_line("held_unpaid", each, actor) for each in ends])
    if not own_act:
        tell_agents(tx, purchases, Outcome.HELD_UNPAID)
        _dead_letters(tx, ends, stage)
    apply_kept(tx, [each.order_no for each in purchases], actor=actor)


def _dead_letters(tx: Transaction, ends: Sequence[Unpaid], stage: str) -> None:
    # What made a purchase end may have been told before by a stage that gave up; then that one stays. That an agent could
    # not be told something is another matter.
    told = {
        (letter.order_no, letter.generation)
        for letter in dead_letters.open_of(tx, *(each.purchase.order_no for each in ends))
        if letter.stage != "notification"
    }
    letters = [
        DeadLetterFacts(
            stage=stage,
            order_no=each.purchase.order_no,
            generation=each.purchase.generation,
            agent=each.purchase.agent,
            reason=each.reason,
            detail=each.detail or RULES[each.reason].words,
            attempts=each.attempts_made,
            amount_fen=each.purchase.stated_fen or each.purchase.fare_fen,
            deadline=each.purchase.hold_deadline,
        )
        for each in ends
        if (each.purchase.order_no, each.purchase.generation) not in told
    ]
    dead_letters.add_all(tx, letters)
