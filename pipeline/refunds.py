"""What 12306 gives back: booked once per refund, never above what was posted, and otherwise a person's task (DESIGN section 6)."""

from __future__ import annotations

from pipeline.ledger import railway_refund
from pipeline.store import inbox, ledger, orders, tasks
from pipeline.store.engine import Transaction


def book_refunds(tx: Transaction, order_no: str) -> None:
    """Book the 12306 refunds that arrived, up to what was posted. One that comes before the post is kept until then.

    A refund that no post can cover any more is a task. Called whenever a refund arrives, a post is made, or a payment is
    proven not to have happened.
    """
    orders.lock(tx, order_no)  # two refunds at once must not both take the same post
    posted = inbox.posted_fen(tx, order_no)
    for row in inbox.unbooked_refunds(tx, order_no):
        if row.amount_fen <= posted:
            ledger.apply(tx, [railway_refund(row.agent, order_no, row.refund_id, row.amount_fen)])
            inbox.mark_booked(tx, order_no, row.refund_id)
            posted -= row.amount_fen
        elif not orders.awaits_post(tx, order_no):
            reason = f"12306退款 {row.amount_fen} 分, 超过可冲抵的 {posted} 分"
            tasks.open_task(tx, "railway_refund", order_no, f"{order_no}:refund:{row.refund_id}", reason)
