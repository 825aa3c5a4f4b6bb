"""What becomes of orders that are over: personal data is erased, stories are archived.

Orders, purchases, attempts, requests, results and the ledger stay where they are for good: by them a request that comes years
late is known, a hold that was paid is not paid again, and the audit adds up. Append-only tables hold no personal data.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, exists, insert, or_, select, update

from pipeline.retention import without_personal
from pipeline.states import PurchaseState
from pipeline.store import history
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.tables import archived_stories, dead_letters, orders, purchases, tasks
from pipeline.store.tables import history as history_table
from pipeline.store.types import db_now
from pipeline.store.work_keys import OF_ORDER, OF_PURCHASE, has_row, purchase_has_row

#: A purchase that goes no further by itself or by a person.
_OVER = sorted(
    it.value
    for it in (
        PurchaseState.SETTLED,
        PurchaseState.HELD_UNPAID,
        PurchaseState.REFUNDED,
        PurchaseState.NEVER_DEBITED,
    )
)
_before = bindparam("before", type_=orders.c.created_at.type)
_is_over = (
    orders.c.created_at < _before,
    orders.c.updated_at < _before,
    orders.c.departure_at < _before,
    orders.c.frozen_fen == 0,
    or_(orders.c.refund_requested_at.is_(None), orders.c.refund_closed_at.is_not(None)),
    ~has_row(orders.c.order_no, *OF_ORDER),
    ~exists(select(tasks.c.id).where(tasks.c.order_no == orders.c.order_no, tasks.c.closed_at.is_(None))),
    ~exists(
        select(purchases.c.id).where(
            purchases.c.order_no == orders.c.order_no,
            or_(
                purchases.c.state.not_in(_OVER),
                purchases.c.updated_at >= _before,
                purchase_has_row(purchases.c.id, *OF_PURCHASE),
            ),
        )
    ),
)
# Soonest bound first: an order is never over before it is created, so the partial index ends the search.
_due = (
    select(orders.c.order_no, orders.c.details)
    .where(orders.c.erased_at.is_(None), *_is_over)
    .order_by(orders.c.created_at)
    .limit(bindparam("most"))
)
_erase = (
    update(orders)
    .where(orders.c.order_no == bindparam("o"), orders.c.erased_at.is_(None))
    .values(
        details=bindparam("left", type_=orders.c.details.type), contact_mark=None, phone_mark=None, erased_at=db_now()
    )
)
_forget_bodies = (
    update(dead_letters)
    .where(
        dead_letters.c.id.in_(
            select(dead_letters.c.id)
            .where(
                dead_letters.c.body_sealed.is_not(None),
                dead_letters.c.state != "open",
                dead_letters.c.last_at < bindparam("before", type_=dead_letters.c.last_at.type),
            )
            .limit(bindparam("most"))
        )
    )
    .values(body_sealed=None)
)
_told = exists(select(history_table.c.id).where(history_table.c.order_no == orders.c.order_no))
_to_archive = (
    select(orders.c.order_no)
    .where(orders.c.order_no > bindparam("after"), *_is_over, _told)
    .order_by(orders.c.order_no)
    .limit(bindparam("most"))
)
_take_away = (
    delete(history_table)
    .where(history_table.c.order_no == bindparam("o"))
    .returning(
        history_table.c.id, history_table.c.at, history_table.c.what, history_table.c.detail, history_table.c.actor
    )
)
_forget_archived = delete(archived_stories).where(archived_stories.c.order_no == bindparam("o"))
_keep = insert(archived_stories).values(
    order_no=bindparam("o"), archived_at=db_now(), lines=bindparam("lines_", type_=archived_stories.c.lines.type)
)


def erase(tx: Transaction, keep: timedelta, most: int) -> int:
    """Take ID numbers and phones out of at most `most` orders that nothing has happened to for `keep`, and the undecodable
    bodies out of closed dead letters of that age; how many were erased. Less than `most`: there are no more."""
    before = now(tx) - keep
    due = tx.rows(_due, {"before": before, "most": most})
    for row in due:
        tx.run(_erase, {"o": row.order_no, "left": without_personal(row.details)})
    return max(len(due), tx.moved(_forget_bodies, {"before": before, "most": most}))


def archive(tx: Transaction, before: datetime, after: str, most: int) -> list[str]:
    """Move the stories of at most `most` orders to which nothing has happened since `before`; their numbers, ascending.

    `after`: the last number of the batch before this one. A story that went on after it was archived is archived anew.
    """
    due = [row.order_no for row in tx.rows(_to_archive, {"before": before, "after": after, "most": most})]
    for order_no in due:
        # What was really taken away, not what was there a moment before: a line that comes meanwhile stays where it is.
        taken = sorted(tx.rows(_take_away, {"o": order_no}), key=lambda row: int(row.id))
        lines = [
            *history.archived(tx, order_no),
            *({"at": row.at, "what": row.what, "detail": row.detail, "actor": row.actor} for row in taken),
        ]
        tx.run(_forget_archived, {"o": order_no})
        tx.run(_keep, {"o": order_no, "lines_": [{**line, "at": line["at"].isoformat()} for line in lines]})
    return due
