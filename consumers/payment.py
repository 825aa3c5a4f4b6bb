"""The payment stage: claim, call, conclude (DESIGN section 5). What it does outside is in `payment_calls`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from consumers import payment_conclusions
from consumers.payment_calls import PaymentCalls
from consumers.payment_claims import Claim, Claims
from consumers.payment_items import AskItem, PayItem, PaymentResult
from consumers.payment_login import take_back_tries
from consumers.payment_questions import Questions
from pipeline import setbacks
from pipeline.ports import Randomness
from pipeline.reasons import Reason
from pipeline.retry import again_after
from pipeline.stage import MAX_UNEXPECTED
from pipeline.states import PurchaseState
from pipeline.store import accounts, attempts, history, orders, pace, suspects, work
from pipeline.store.attempts import Intent
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.pace import Pace
from pipeline.store.rows import together
from pipeline.store.work import Later, NewRow, Step, WorkRow, work_key

ACTOR = "system:payment"
FIRST_AGAIN_S = 5.0


def intent_follow_up(worker: str, lease_s: float) -> Callable[[Transaction, Sequence[Intent]], None]:
    """What the intents' transaction writes beside them: the pay rows become question rows, held by the same worker, and the
    agents' provisional notifications are due at `stop_at`."""

    def write(tx: Transaction, intents: Sequence[Intent]) -> None:
        work.remove(tx, [work_key(each.order_no, each.generation, Step.PAY) for each in intents])
        asks = [NewRow(each.order_no, each.generation, Step.ASK, each.urgency) for each in intents]
        with together(tx):
            work.add_all(tx, asks, lease=(worker, lease_s))
            history.tell_all(tx, [_submitted(each) for each in intents])
        tells = [NewRow(each.order_no, 0, Step.TELL, each.urgency, each.urgency) for each in intents]
        work.bring_forward_all(tx, tells)

    return write


def _submitted(intent: Intent) -> Line:
    detail = {
        "generation": intent.generation,
        "held_order_no": intent.held_order_no,
        "amount_fen": intent.amount_fen,
        "trade_no": intent.trade_no,
    }
    return Line(intent.order_no, "submitted", ACTOR, detail)


class Payment:
    """Pays held orders, each at most once, and asks about what it submitted."""

    name = "payment"

    def __init__(
        self,
        calls: PaymentCalls,
        questions: Questions,
        worker: str,
        lease_s: float,
        list_retry_s: float,
        randomness: Randomness,
        ready: Callable[[], bool],
        paces: Sequence[Pace] = (),
    ) -> None:
        self._calls, self._questions = calls, questions
        self._worker, self._lease_s = worker, lease_s
        self._list_retry_s, self._randomness = list_retry_s, randomness
        self._claims = Claims(worker, lease_s)
        self.ready = ready
        self._paces = paces

    def prepare(self, tx: Transaction, keys: Sequence[str]) -> list[PayItem | AskItem]:
        claimed = work.claim(tx, keys, self._worker, self._lease_s)
        rows = self._paced(tx, suspects.on_trial(tx, claimed, self._worker))
        ids = [row.purchase_id for row in rows]
        purchases = orders.load_to_pay(tx, ids)
        submitted = attempts.submitted(tx, [row.id for row in purchases.values() if row.intent_at is not None])
        pays: list[Claim] = []
        asks: list[tuple[Claim, Row[Any]]] = []
        over = []
        for row in rows:
            purchase, attempt = purchases.get(row.purchase_id), submitted.get(row.purchase_id)
            if purchase is not None and row.step is Step.PAY and attempt is None:
                pays.append(Claim(row, purchase))
            elif purchase is not None and row.step is Step.ASK and attempt is not None:
                asks.append((Claim(row, purchase), attempt))
            else:
                over.append(row)  # the intent has turned the pay row into a question row
        work.finish_all(tx, over)
        items: list[PayItem | AskItem] = [*self._claims.pays(tx, pays), *self._claims.asks(tx, asks)]
        return sorted(items, key=lambda item: (item.row.urgency, item.key))

    def _paced(self, tx: Transaction, rows: list[WorkRow]) -> list[WorkRow]:
        """The soonest `stop_at` first, as many as the upstreams' limits let begin now; the rest a little later."""
        granted = len(rows)
        for limit in self._paces:
            granted = pace.grant(tx, limit, granted, claimed=len(rows))
        if granted < len(rows):
            later = now(tx) + timedelta(seconds=max(pace.wait_s(limit) for limit in self._paces))
            work.again_all(tx, [Later(row, later, None, counts=False) for row in rows[granted:]])
        return rows[:granted]

    async def call(self, item: PayItem | AskItem) -> PaymentResult:
        return await (self._calls.pay(item) if isinstance(item, PayItem) else self._questions.ask(item))

    def conclude(self, tx: Transaction, results: Sequence[PaymentResult]) -> None:
        payment_conclusions.conclude_all(tx, results, self._list_retry_s, self._randomness)
        self._free_accounts(tx, [result.item for result in results])

    def _free_accounts(self, tx: Transaction, items: Sequence[PayItem | AskItem]) -> None:
        """One account, one call at a time: whoever waits for these accounts is due now. Tries that were none are taken back where
        the account was still ours: nobody else has counted meanwhile."""
        freed = accounts.release(tx, [(item.login, item.key) for item in items], self._worker)
        if not freed:
            return
        take_back_tries(tx, (item for item in items if isinstance(item, PayItem) and item.login in freed))
        work.account_freed(tx, freed)

    def failed(self, tx: Transaction, item: PayItem | AskItem, error: str) -> None:
        """An exception that nobody named. Questions are put off for ever; a purchase without intent gives up in the end."""
        self._free_accounts(tx, [item])
        row = item.row
        delay_s = again_after(row.tries + 1, FIRST_AGAIN_S, self._randomness)
        # After the intent there is no pay row any more: the question row comes due by itself when its lease ends.
        ours = work.again(tx, row, payment_conclusions.due_after(tx, item, delay_s), error)
        if isinstance(item, AskItem) or not attempts.close_one(tx, item.attempt_id, "unexpected_error") or not ours:
            return
        orders.move(tx, item.purchase_id, PurchaseState.PAYING, PurchaseState.READY)
        if row.tries + 1 >= MAX_UNEXPECTED:
            setbacks.give_up(tx, row, Reason.UNEXPECTED_ERROR, error, actor=ACTOR)
