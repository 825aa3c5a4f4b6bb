"""After a restore: paying stays paused until every hold that may have been paid meanwhile was asked about (DESIGN section 5.6).

The backup knows nothing of what was submitted after it. A purchase that could still submit may have been paid then, so each
is a task: somebody looks at 12306 and the cashier, and closes it with `paid` or `unpaid`. Until then it does not end as
held_unpaid, whatever time it is. Orders from before the restore that are imported again while paying is paused get their task
when they are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import endings
from pipeline.operations_errors import NotFound, Refused, person
from pipeline.reasons import RULES, Outcome, Reason
from pipeline.states import BEFORE_INTENT, PurchaseState
from pipeline.store import attempts, control, dead_letters, history, orders, stops, tasks, work
from pipeline.store import recovery as recovery_store
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.recovery import PAID, TASK, UNPAID
from pipeline.store.work import Step, work_key
from pipeline.store.work_keys import PAYING_PAUSED


@dataclass(frozen=True, slots=True)
class Recovery:
    """`open_tasks`: (task id, order number, reason) of the holds that nobody has asked about yet."""

    paying_paused_since: str | None
    restored_at: str | None
    open_tasks: tuple[tuple[int, str, str], ...]


def recover(tx: Transaction, since: datetime, actor: str) -> Recovery:
    """Pause paying and list what has to be asked about. `since` is the moment of the backup. Doing it twice adds what is new."""
    person(actor)
    moment = now(tx)
    if since > moment:
        raise Refused("bad_since", "备份时间不能在将来")
    if control.get_meta(tx, PAYING_PAUSED) != since.isoformat():  # the same again is the same restore: answers stand
        control.set_meta(tx, PAYING_PAUSED, since.isoformat())
        recovery_store.mark_restored(tx, moment)
    stops.close_all(tx)
    for purchase in recovery_store.before_intent(tx):
        row = orders.load_purchases(tx, [purchase.id])[purchase.id]
        in_question = recovery_store.in_question(tx, row.order_no, row.accepted_at)
        if in_question and recovery_store.ask(tx, row.id, row.order_no, row.held_order_no):
            history.tell(tx, row.order_no, "recovered_hold", actor, generation=row.generation)
    history.audit(tx, actor, "recover.start", since.isoformat())
    return recovery(tx)


def finish_recovery(tx: Transaction, actor: str) -> Recovery:
    """Pay again, once every hold was asked about. Raises NotFound (nothing to finish), Refused."""
    person(actor)
    state = recovery(tx)
    if state.paying_paused_since is None:
        raise NotFound("没有进行中的恢复")
    if state.open_tasks:
        names = ", ".join(order_no for _id, order_no, _reason in state.open_tasks[:10])
        raise Refused("holds_open", f"还有 {len(state.open_tasks)} 个占座没有核实: {names}")
    control.set_meta(tx, PAYING_PAUSED, None)
    control.wake_stage(tx, "payment")
    history.audit(tx, actor, "recover.finish", state.paying_paused_since)
    return recovery(tx)


def answer(tx: Transaction, task: Row[Any], resolution: str, evidence: str, actor: str) -> None:
    """What a person found out about a hold: `paid` makes its purchase paid_abnormal, `unpaid` lets it go on, or end.

    The task is closed by the caller, before. Raises Refused.
    """
    if resolution not in (PAID, UNPAID):
        raise Refused("paid_or_unpaid", f"恢复后核实占座: 结论必须是 {PAID} 或 {UNPAID}")
    orders.lock(tx, task.order_no)
    order = orders.load(tx, [task.order_no])[task.order_no]
    if order.state is None or PurchaseState(order.state) not in BEFORE_INTENT or order.intent:
        return  # its outcome is known, or questions are asked about it
    purchase = orders.load_purchases(tx, [order.purchase_id])[order.purchase_id]
    if resolution == PAID:
        _found_paid(tx, purchase, evidence, actor)
    else:
        _found_unpaid(tx, order, purchase, actor)


def _found_paid(tx: Transaction, purchase: Row[Any], evidence: str, actor: str) -> None:
    attempts.close_open(tx, purchase.id, Reason.PAID_ELSEWHERE)
    for letter in _letters(tx, purchase):
        dead_letters.move(tx, letter.id, "open", "superseded")
    state = PurchaseState(purchase.state)
    for was, becomes in (
        (PurchaseState.ACCEPTED, PurchaseState.READY),
        (PurchaseState.READY, PurchaseState.PAYING),
    ):
        if state is was and orders.move(tx, purchase.id, was, becomes):
            state = becomes
    moved = orders.load_purchases(tx, [purchase.id])[purchase.id]
    if not endings.conclude_abnormal(tx, moved, None, Reason.PAID_ELSEWHERE, evidence, actor=actor):
        raise Refused("moved", f"订单 {purchase.order_no} 的代付刚有变化, 请重试")


def _found_unpaid(tx: Transaction, order: Row[Any], purchase: Row[Any], actor: str) -> None:
    """What was withdrawn, or given up by a stage, while it was in question ends now; everything else goes on by its row."""
    confirmed = order.kept_confirm is not None
    if confirmed or orders.facts_of(order).refund_requested:
        for letter in _letters(tx, purchase) if confirmed else ():
            dead_letters.move(tx, letter.id, "open", "superseded")
        endings.end_before_intent(tx, purchase, Reason.WITHDRAWN, "", stage="intake", actor=actor, own_act=confirmed)
        return
    keys = [work_key(purchase.order_no, purchase.generation, step) for step in (Step.CREDENTIALS, Step.PAY)]
    if work.find(tx, keys):
        return
    for letter in _letters(tx, purchase):
        reason = Reason(letter.reason)
        if RULES[reason].outcome is Outcome.HELD_UNPAID:
            endings.end_before_intent(tx, purchase, reason, letter.detail, stage=letter.stage, actor=actor)
            return


def _letters(tx: Transaction, purchase: Row[Any]) -> list[Row[Any]]:
    return [
        letter
        for letter in dead_letters.open_of(tx, purchase.order_no)
        if letter.generation == purchase.generation and letter.stage != "notification"
    ]


def recovery(tx: Transaction) -> Recovery:
    """Where a recovery stands."""
    restored = recovery_store.restored_at(tx)
    waiting = [task for task in tasks.find(tx) if task.kind == TASK]
    return Recovery(
        control.get_meta(tx, PAYING_PAUSED),
        None if restored is None else restored.isoformat(),
        tuple((task.id, task.order_no, task.reason) for task in waiting),
    )
