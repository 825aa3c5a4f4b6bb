"""What 12306 gives back: booked once per refund, never above what was posted, and otherwise a person's task (DESIGN section 6)."""

from __future__ import annotations

from collections.abc import Container, Sequence

from pipeline.ledger import railway_refund
from pipeline.store import inbox, ledger, orders, tasks
from pipeline.store.engine import Transaction


def book_refunds(tx: Transaction, order_nos: Sequence[str], locked: Container[str] = ()) -> None:
    """Book the 12306 refunds of these orders that arrived, up to what was posted. One that comes before the post is kept
    until then.

    A refund that no post can cover any more is a task. Called whenever a refund arrives, posts are made, or payments are
    proven not to have happened. `locked`: orders that this transaction has changed, so that others wait for it already.
    """
    if not order_nos:
        return
    # Two refunds at once must not both take the same post.
    orders.lock(tx, *(each for each in order_nos if each not in locked))
    arrived = inbox.unbooked_refunds(tx, order_nos)
    if not arrived:
        return
    posted = inbox.posted_fen(tx, *order_nos)
    awaited = orders.awaiting_post(tx, order_nos)
    booked = []
    for row in arrived:
        rest_fen = posted.get(row.order_no, 0)
        if row.amount_fen <= rest_fen:
            booked.append(row)
            posted[row.order_no] = rest_fen - row.amount_fen
        elif row.order_no not in awaited:
            reason = f"12306退款 {row.amount_fen} 分, 超过可冲抵的 {rest_fen} 分"
            tasks.open_task(tx, "railway_refund", row.order_no, f"{row.order_no}:refund:{row.refund_id}", reason)
    ledger.apply(tx, [railway_refund(row.agent, row.order_no, row.refund_id, row.amount_fen) for row in booked])
    for row in booked:
        inbox.mark_booked(tx, row.order_no, row.refund_id)
