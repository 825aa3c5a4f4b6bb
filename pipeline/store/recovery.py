"""What a restore may have lost: payments submitted after the backup was made (DESIGN section 5.6).

A purchase without an intent may have had one in the time that was lost. Until 12306 or a person was asked about it, it is *in
question*: it must not end as held_unpaid, and requests find it as if it were submitted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, select

from pipeline.states import BEFORE_INTENT
from pipeline.store import control, tasks
from pipeline.store import tables as t
from pipeline.store.engine import Row, Transaction
from pipeline.store.tables import attempts, orders, purchases

RESTORED_AT = "restored_at"
TASK = "recovered_hold"  # somebody asks 12306 about a hold, and closes the task with PAID or UNPAID
PAID, UNPAID = "paid", "unpaid"

_before_intent = (
    select(purchases.c.id, purchases.c.order_no, purchases.c.generation, purchases.c.login, purchases.c.held_order_no)
    .where(
        purchases.c.state.in_(sorted(state.value for state in BEFORE_INTENT)),
        ~exists(
            select(attempts.c.id).where(attempts.c.purchase_id == purchases.c.id, attempts.c.submitted_at.is_not(None))
        ),
    )
    .order_by(purchases.c.stop_at)
)
_paid_at = select(orders.c.paid_at).where(orders.c.order_no == bindparam("o"))
_asked_since = (
    select(t.tasks.c.id)
    .where(
        t.tasks.c.order_no == bindparam("o"),
        t.tasks.c.kind == TASK,
        t.tasks.c.closed_at >= bindparam("restored", type_=t.tasks.c.closed_at.type),
    )
    .limit(1)
)


def before_intent(tx: Transaction) -> list[Row[Any]]:
    """Purchases that could still submit, soonest first: each may have been paid in the time that was lost."""
    return tx.rows(_before_intent)


def mark_restored(tx: Transaction, at: datetime) -> None:
    """The database was restored, and what happened before `at` may be missing from it."""
    control.set_meta(tx, RESTORED_AT, at.isoformat())


def restored_at(tx: Transaction) -> datetime | None:
    """When the last restore was noted, None if never."""
    text = control.get_meta(tx, RESTORED_AT)
    return None if text is None else datetime.fromisoformat(text)


def may_be_lost(tx: Transaction, order_no: str) -> bool:
    """Whether a payment of ours for this order may have been submitted and forgotten by a restore: the user had paid
    before it. Such an order found paid at 12306 is `paid_elsewhere`, never `already_paid`."""
    restored = restored_at(tx)
    return restored is not None and _paid_before(tx, order_no, restored)


def _paid_before(tx: Transaction, order_no: str, restored: datetime) -> bool:
    paid_at: datetime | None = tx.run(_paid_at, {"o": order_no}).scalar()
    return paid_at is not None and paid_at < restored


def in_question(tx: Transaction, order_no: str, accepted_at: datetime) -> bool:
    """Whether this purchase without an intent, accepted at `accepted_at`, may have been paid before the last restore, and
    nobody has been asked since."""
    restored = restored_at(tx)
    if restored is None or not (accepted_at <= restored or _paid_before(tx, order_no, restored)):
        return False
    return tx.one(_asked_since, {"o": order_no, "restored": restored}) is None


def ask(tx: Transaction, purchase_id: str, order_no: str, held_order_no: str | None) -> bool:
    """A person must find out whether this hold was paid. False: such a task is open already."""
    if open_task(tx, order_no) is not None:
        return False
    hold, restored = held_order_no or "未知", restored_at(tx)
    reason = f"数据库恢复后: 在12306和收银台核实占座 {hold} 是否已支付, 以 {PAID} 或 {UNPAID} 关闭"
    tasks.open_task(tx, TASK, order_no, f"{purchase_id}:{TASK}:{restored and restored.isoformat()}", reason)
    return True


def open_task(tx: Transaction, order_no: str) -> Row[Any] | None:
    """The question about this order that nobody has answered yet."""
    return next((task for task in tasks.find(tx, order_no=order_no) if task.kind == TASK), None)


def answered(tx: Transaction, order_no: str, actor: str, evidence: str) -> None:
    """12306 itself was asked and lists no payment of it: nobody has to ask any more."""
    task = open_task(tx, order_no)
    if task is not None:
        tasks.close(tx, task.id, actor, UNPAID, evidence)
