"""Settlement and unfreeze: post to 12306, the paid part to the agent, the rest back to the user (DESIGN section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipeline.ledger import departure_unfreeze, post, unfreeze
from pipeline.refunds import book_refunds
from pipeline.states import Closure
from pipeline.store import history, ledger, orders, results, work
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.work import Step, WorkRow

ACTOR = "system:settlement"


class Settlement:
    """Settles purchased orders, and unfreezes orders ticketed offline after their departure."""

    name = "settlement"

    def transact(self, tx: Transaction, keys: Sequence[str]) -> list[datetime]:
        rows = work.take(tx, keys)
        self._settle(tx, [row for row in rows if row.step is Step.SETTLE])
        self._depart(tx, [row for row in rows if row.step is Step.DEPARTURE])
        return [row.created_at for row in rows if row.step is Step.SETTLE]

    def _settle(self, tx: Transaction, rows: Sequence[WorkRow]) -> None:
        if not rows:
            return
        ids = [row.purchase_id for row in rows]
        found = orders.load_to_settle(tx, ids)
        settled = orders.settle(tx, [(row.id, *_shares(row)) for row in found.values()])
        purchases = [row for row in found.values() if row.id in settled]
        thawed = orders.thaw_to_tell(tx, *(row.order_no for row in purchases if row.frozen_fen > 0))
        # What left by another way meanwhile is not paid out once more.
        gone = [row.id for row in purchases if row.order_no not in thawed and row.frozen_fen > 0]
        orders.nothing_unfrozen(tx, gone)
        posts = [
            post(row.agent, row.order_no, row.attempt_id, row.amount_fen, row.paid_fen)
            for row in purchases
            if row.attempt_id is not None
        ]
        thaws = [
            unfreeze(row.agent, row.order_no, row.frozen_fen, row.paid_fen)
            for row in purchases
            if row.order_no in thawed
        ]
        ledger.apply_late(tx, [*posts, *thaws])
        book_refunds(tx, [row.order_no for row in purchases], locked=thawed)
        told = [(row.order_no, row.generation) for row in purchases]
        for key in gone:
            del settled[key]  # another update came after it
        results.emit_all(tx, told, "purchase.settled", counted=thawed, standing=settled)
        history.tell_all(tx, [_line(row, thawed=row.order_no in thawed) for row in purchases])

    def _depart(self, tx: Transaction, rows: Sequence[WorkRow]) -> None:
        if not rows:
            return
        frozen = [
            order
            for order in orders.load(tx, [row.order_no for row in rows]).values()
            if order.closure == Closure.TICKETED_OFFLINE and order.frozen_fen > 0
        ]
        thawed = orders.thaw(tx, *(order.order_no for order in frozen))
        left = [order for order in frozen if order.order_no in thawed]
        ledger.apply_late(tx, [departure_unfreeze(order.agent, order.order_no, order.frozen_fen) for order in left])
        lines = [Line(order.order_no, "departure_unfrozen", ACTOR, {"amount_fen": order.frozen_fen}) for order in left]
        history.tell_all(tx, lines)


def _shares(purchase: Row[Any]) -> tuple[int, int]:
    """Of the frozen money: what goes to the agent, and what back to the user."""
    unfrozen = min(purchase.paid_fen, purchase.frozen_fen)
    return unfrozen, purchase.frozen_fen - unfrozen


def _line(purchase: Row[Any], *, thawed: bool) -> Line:
    unfrozen, back = _shares(purchase) if thawed else (0, 0)
    detail = {
        "generation": purchase.generation,
        "paid_fen": purchase.paid_fen,
        "unfrozen_fen": unfrozen,
        "partial_refund_fen": back,
    }
    return Line(purchase.order_no, "settled", ACTOR, detail)
