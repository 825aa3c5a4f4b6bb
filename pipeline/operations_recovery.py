"""After a restore: paying stays paused until every hold that may have been paid meanwhile was asked about (DESIGN section 5.6).

The backup knows nothing of what was submitted after it. A purchase that could still submit may have been paid then, so each
is a task: somebody looks at 12306 and the cashier, and closes it with what was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.operations_errors import NotFound, Refused, person
from pipeline.store import control, history, stops, tasks
from pipeline.store import recovery as recovery_store
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.work import PAYING_PAUSED

TASK = "recovered_hold"


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
    control.set_meta(tx, PAYING_PAUSED, since.isoformat())
    recovery_store.mark_restored(tx, moment)
    stops.close_all(tx)
    for purchase in recovery_store.before_intent(tx):
        reason = (
            f"恢复自 {since.isoformat()} 的备份: 在12306和收银台核实占座 {purchase.held_order_no or '未知'} 是否已支付"
        )
        tasks.open_task(tx, TASK, purchase.order_no, f"{purchase.id}:{TASK}:{since.isoformat()}", reason)
        history.tell(tx, purchase.order_no, "recovered_hold", actor, generation=purchase.generation)
    history.audit(tx, actor, "recover.start", since.isoformat())
    return recovery(tx)


def finish_recovery(tx: Transaction, actor: str) -> Recovery:
    """Pay again, once every hold was asked about. Raises NotFound (nothing to finish), Refused."""
    person(actor)
    state = recovery(tx)
    if state.paying_paused_since is None:
        raise NotFound("没有进行中的恢复")
    if state.open_tasks:
        orders = ", ".join(order_no for _id, order_no, _reason in state.open_tasks[:10])
        raise Refused("holds_open", f"还有 {len(state.open_tasks)} 个占座没有核实: {orders}")
    control.set_meta(tx, PAYING_PAUSED, None)
    control.wake_stage(tx, "payment")
    history.audit(tx, actor, "recover.finish", state.paying_paused_since)
    return recovery(tx)


def recovery(tx: Transaction) -> Recovery:
    """Where a recovery stands."""
    restored = recovery_store.restored_at(tx)
    waiting = [task for task in tasks.find(tx) if task.kind == TASK]
    return Recovery(
        control.get_meta(tx, PAYING_PAUSED),
        None if restored is None else restored.isoformat(),
        tuple((task.id, task.order_no, task.reason) for task in waiting),
    )
