"""Settlement and unfreeze: post to 12306, the paid part to the agent, the rest back to the user (DESIGN section 6)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.ledger import departure_unfreeze, post, unfreeze
from pipeline.refunds import book_refunds
from pipeline.states import Closure, PurchaseState
from pipeline.store import attempts, history, ledger, orders, results, work
from pipeline.store.engine import Transaction
from pipeline.store.work import Step, WorkRow

ACTOR = "system:settlement"


class Settlement:
    """Settles purchased orders, and unfreezes orders ticketed offline after their departure."""

    name = "settlement"

    def transact(self, tx: Transaction, keys: Sequence[str]) -> None:
        rows = work.take(tx, keys)
        self._settle(tx, [row for row in rows if row.step is Step.SETTLE])
        self._depart(tx, [row for row in rows if row.step is Step.DEPARTURE])

    def _settle(self, tx: Transaction, rows: Sequence[WorkRow]) -> None:
        ids = [row.purchase_id for row in rows]
        purchases, submitted = orders.load_purchases(tx, ids), attempts.submitted(tx, ids)
        for row in rows:
            purchase, attempt = purchases.get(row.purchase_id), submitted.get(row.purchase_id)
            if purchase is None or not orders.move(tx, purchase.id, PurchaseState.PURCHASED, PurchaseState.SETTLED):
                continue
            paid_fen = purchase.paid_fen
            if attempt is not None:
                ledger.apply(tx, [post(purchase.agent, row.order_no, attempt.id, attempt.amount_fen, paid_fen)])
            unfrozen = back = 0
            if purchase.frozen_fen > 0 and orders.thaw(tx, row.order_no):
                ledger.apply(tx, [unfreeze(purchase.agent, row.order_no, purchase.frozen_fen, paid_fen)])
                unfrozen = min(paid_fen, purchase.frozen_fen)
                back = purchase.frozen_fen - unfrozen
            orders.update_purchase(tx, purchase.id, unfrozen_fen=unfrozen, partial_refund_fen=back)
            book_refunds(tx, row.order_no)
            results.emit(tx, row.order_no, row.generation, "purchase.settled")
            history.tell(
                tx,
                row.order_no,
                "settled",
                ACTOR,
                generation=row.generation,
                paid_fen=paid_fen,
                unfrozen_fen=unfrozen,
                partial_refund_fen=back,
            )

    def _depart(self, tx: Transaction, rows: Sequence[WorkRow]) -> None:
        known = orders.load(tx, [row.order_no for row in rows])
        for row in rows:
            order = known.get(row.order_no)
            if order is None or order.closure != Closure.TICKETED_OFFLINE or order.frozen_fen == 0:
                continue
            if orders.thaw(tx, row.order_no):
                ledger.apply(tx, [departure_unfreeze(order.agent, row.order_no, order.frozen_fen)])
                history.tell(tx, row.order_no, "departure_unfrozen", ACTOR, amount_fen=order.frozen_fen)
