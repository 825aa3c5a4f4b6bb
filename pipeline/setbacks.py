"""What a stage does with a row that it can't finish now: put off, or in the end given up as a dead letter."""

from __future__ import annotations

from datetime import timedelta

from pipeline.reasons import Reason
from pipeline.retry import AGAIN_CAP_S
from pipeline.stage import MAX_UNEXPECTED
from pipeline.store import dead_letters, history, orders, work
from pipeline.store.clock import now
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Transaction
from pipeline.store.work import Step, WorkRow

PUT_OFF_FIRST_S = 2.0


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
