"""Tasks that nobody opens by an act of his own: what has waited too long for its outcome, and what an agent was never told.

The relay asks every few seconds. What it finds open already is left alone, so that rounds of several relays do no harm.
"""

from __future__ import annotations

from sqlalchemy import and_, case, exists, func, literal, or_, select, text, update

from pipeline.reasons import Reason
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_rows
from pipeline.store.tables import attempts, dead_letters, purchases, tasks
from pipeline.store.types import db_now, seconds_us
from pipeline.task_kinds import TaskKind

DOUBT_S = 3600.0  # a payment whose outcome is unknown for longer is a person's task
AT_ONCE = 200
ACTOR = "system:relay"

_IN_DOUBT, _EXHAUSTED = TaskKind.IN_DOUBT.value, TaskKind.CALLBACK_EXHAUSTED.value
_doubt_uid = purchases.c.id + literal(f":{_IN_DOUBT}")
_long_in_doubt = (
    select(
        literal(_IN_DOUBT).label("kind"),
        attempts.c.order_no,
        _doubt_uid.label("uid"),
        literal("提交支付一小时后仍不知道结果").label("reason"),
    )
    .select_from(attempts.join(purchases, purchases.c.id == attempts.c.purchase_id))
    .where(
        text("attempts.submitted_at IS NOT NULL AND attempts.concluded_at IS NULL"),  # as its index has it
        attempts.c.submitted_at <= db_now() - seconds_us(DOUBT_S),
        purchases.c.state == "in_doubt",
        ~exists(select(tasks.c.id).where(tasks.c.uid == _doubt_uid)),
    )
    .limit(AT_ONCE)
)
_of_letter = and_(tasks.c.kind == _EXHAUSTED, tasks.c.order_no == dead_letters.c.order_no)
# A person's word that it is settled stands until the agent could not be told once more.
_is_seen_to = or_(
    tasks.c.closed_at.is_(None),
    and_(tasks.c.closed_by != ACTOR, tasks.c.opened_at >= dead_letters.c.last_at),
)
_earlier = select(func.count()).select_from(tasks).where(_of_letter).scalar_subquery()
_never_told = (
    select(
        literal(_EXHAUSTED).label("kind"),
        dead_letters.c.order_no,
        dead_letters.c.uid.label("letter"),
        _earlier.label("earlier"),
        dead_letters.c.detail.label("reason"),
    )
    .where(
        dead_letters.c.state == "open",
        dead_letters.c.reason == Reason.CALLBACK_EXHAUSTED.value,
        dead_letters.c.order_no.is_not(None),
        ~exists(select(tasks.c.id).where(_of_letter, _is_seen_to)),
    )
    .limit(AT_ONCE)
)
_of_purchase = and_(purchases.c.order_no == tasks.c.order_no, _doubt_uid == tasks.c.uid)
_is_known = exists(select(purchases.c.id).where(_of_purchase, purchases.c.state != "in_doubt"))
_is_told = ~exists(
    select(dead_letters.c.id).where(
        dead_letters.c.order_no == tasks.c.order_no,
        dead_letters.c.state == "open",
        dead_letters.c.reason == Reason.CALLBACK_EXHAUSTED.value,
    )
)
_close_answered = (
    update(tasks)
    .where(
        text("tasks.closed_at IS NULL"),
        or_(and_(tasks.c.kind == _IN_DOUBT, _is_known), and_(tasks.c.kind == _EXHAUSTED, _is_told)),
    )
    .values(
        closed_by=ACTOR,
        closed_at=db_now(),
        resolution=case(
            (tasks.c.kind == _IN_DOUBT, select(purchases.c.state).where(_of_purchase).scalar_subquery()),
            else_=literal("死信已处理"),
        ),
        evidence="",
    )
)


def keep(tx: Transaction) -> int:
    """Open the tasks that became true, close those whose question is answered. Returns how many were opened."""
    moment = now(tx)
    new = [
        {"uid": row.uid, "kind": row.kind, "order_no": row.order_no, "reason": row.reason, "opened_at": moment}
        for row in tx.rows(_long_in_doubt)
    ]
    for row in tx.rows(_never_told):
        uid = f"{row.letter}:task:{row.earlier}"  # one that is opened again is another one
        new.append({"uid": uid, "kind": row.kind, "order_no": row.order_no, "reason": row.reason, "opened_at": moment})
    insert_rows(tx, tasks, new, ignore=True)
    tx.run(_close_answered)
    return len(new)
