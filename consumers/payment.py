"""The payment stage: claim, call, conclude (DESIGN section 5). What it does outside is in `payment_calls`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from consumers import payment_conclusions
from consumers.payment_calls import PaymentCalls
from consumers.payment_items import AskItem, PayItem, PaymentResult, Question, expected_of
from consumers.payment_questions import Questions
from pipeline import endings
from pipeline.ledger import Account
from pipeline.ports import Randomness
from pipeline.reasons import Reason
from pipeline.retry import again_after
from pipeline.stage import CRASH_LOOP_DEATHS, MAX_UNEXPECTED
from pipeline.states import PurchaseState
from pipeline.store import accounts, attempts, history, ledger, orders, pace, suspects, work
from pipeline.store.attempts import Intent
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.pace import Pace
from pipeline.store.work import Step, WorkRow, work_key

ACTOR = "system:payment"
FIRST_AGAIN_S = 5.0


def intent_follow_up(worker: str, lease_s: float) -> Callable[[Transaction, Intent], None]:
    """What the intent's transaction writes beside the intent: the pay row becomes a question row, held by the same worker,
    and the agent's provisional notification is due at `stop_at`."""

    def write(tx: Transaction, intent: Intent) -> None:
        work.remove(tx, [work_key(intent.order_no, intent.generation, Step.PAY)])
        work.add(tx, intent.order_no, intent.generation, Step.ASK, urgency=intent.urgency, lease=(worker, lease_s))
        moment = now(tx)
        work.bring_forward(tx, intent.order_no, Step.TELL, urgency=intent.urgency, due_at=intent.urgency, now=moment)
        history.tell(
            tx,
            intent.order_no,
            "submitted",
            ACTOR,
            generation=intent.generation,
            held_order_no=intent.held_order_no,
            amount_fen=intent.amount_fen,
            trade_no=intent.trade_no,
        )

    return write


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
        self.ready = ready
        self._paces = paces

    def prepare(self, tx: Transaction, keys: Sequence[str]) -> list[PayItem | AskItem]:
        claimed = work.claim(tx, keys, self._worker, self._lease_s)
        rows = self._paced(tx, suspects.on_trial(tx, claimed, self._worker))
        ids = [row.purchase_id for row in rows]
        purchases, submitted = orders.load_purchases(tx, ids), attempts.submitted(tx, ids)
        items: list[PayItem | AskItem] = []
        for row in rows:
            purchase, attempt = purchases.get(row.purchase_id), submitted.get(row.purchase_id)
            if purchase is None:
                work.finish(tx, row)
            elif row.step is Step.PAY and attempt is None:
                items.extend(self._claim_pay(tx, row, purchase))
            elif row.step is Step.ASK and attempt is not None:
                items.extend(self._claim_ask(tx, row, purchase, attempt))
            else:
                work.finish(tx, row)  # the intent has turned the pay row into a question row
        return items

    def _paced(self, tx: Transaction, rows: list[WorkRow]) -> list[WorkRow]:
        """The soonest `stop_at` first, as many as the upstreams' limits let begin now; the rest a little later."""
        granted = len(rows)
        for limit in self._paces:
            granted = min(granted, pace.grant(tx, limit, granted))
        if granted < len(rows):
            later = now(tx) + timedelta(seconds=max(pace.wait_s(limit) for limit in self._paces))
            for row in rows[granted:]:
                work.again(tx, row, later, None, counts=False)
        return rows[:granted]

    def _claim_pay(self, tx: Transaction, row: WorkRow, purchase: Row[Any]) -> list[PayItem]:
        state = PurchaseState(purchase.state)
        if state not in (PurchaseState.READY, PurchaseState.PAYING):
            work.finish(tx, row)
            return []
        if purchase.stop_at <= now(tx):
            endings.end_before_intent(tx, purchase, Reason.REQUEST_EXPIRED, "", stage=self.name, actor=ACTOR)
            return []
        if row.deaths >= CRASH_LOOP_DEATHS:
            if not _back_to_ready(tx, row, purchase):
                return []
            endings.give_up(tx, row, Reason.CRASH_LOOP, f"{row.deaths} 次处理时进程崩溃", actor=ACTOR)
            return []
        if purchase.stated_fen and purchase.stated_fen > ledger.balances(tx, purchase.agent)[Account.PROCUREMENT]:
            detail = f"请求金额 {purchase.stated_fen} 分超过采购资金"
            endings.end_before_intent(
                tx, purchase, Reason.INSUFFICIENT_FUNDS, detail, stage=self.name, actor=ACTOR, attempts_made=1
            )
            return []
        busy_until = accounts.lease(tx, purchase.login, self._worker, row.key, self._lease_s)
        if busy_until is not None:
            work.again(tx, row, busy_until, None, counts=False, waits_for=purchase.login)
            return []
        if not _back_to_ready(tx, row, purchase):
            accounts.release(tx, [row.key], self._worker)
            return []
        if not orders.move(tx, purchase.id, PurchaseState.READY, PurchaseState.PAYING):
            work.finish(tx, row)
            accounts.release(tx, [row.key], self._worker)
            return []
        attempt_id = attempts.open_attempt(tx, purchase.id, row.order_no, row.generation, purchase.login, row.fence)
        return [self._pay_item(row, purchase, attempt_id)]

    def _pay_item(self, row: WorkRow, purchase: Row[Any], attempt_id: str) -> PayItem:
        return PayItem(
            row=row,
            purchase_id=purchase.id,
            agent=purchase.agent,
            login=purchase.login,
            password_sealed=purchase.password_sealed,
            held_order_no=purchase.held_order_no,
            known_deadline=purchase.hold_deadline,
            stop_at=purchase.stop_at,
            requested_at=purchase.requested_at,
            accepted_at=purchase.accepted_at,
            attempt_id=attempt_id,
            expected=expected_of(purchase.details, purchase.stated_fen),
        )

    def _claim_ask(self, tx: Transaction, row: WorkRow, purchase: Row[Any], attempt: Row[Any]) -> list[AskItem]:
        if purchase.state == PurchaseState.PAYING:
            orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.IN_DOUBT)
            history.tell(tx, row.order_no, "in_doubt", ACTOR, generation=row.generation)
        elif purchase.state != PurchaseState.IN_DOUBT:
            work.finish(tx, row)
            return []
        busy_until = accounts.lease(tx, attempt.login, self._worker, row.key, self._lease_s)
        if busy_until is not None:
            work.again(tx, row, busy_until, None, counts=False, waits_for=attempt.login)
            return []
        question = Question(
            attempt.login,
            attempt.held_order_no,
            attempt.trade_no,
            attempt.amount_fen,
            attempt.final_after,
            purchase.requested_at,
        )
        return [AskItem(row, purchase.id, attempt.id, purchase.password_sealed, question)]

    async def call(self, item: PayItem | AskItem) -> PaymentResult:
        return await (self._calls.pay(item) if isinstance(item, PayItem) else self._questions.ask(item))

    def conclude(self, tx: Transaction, results: Sequence[PaymentResult]) -> None:
        for result in results:
            payment_conclusions.conclude(tx, result, self._list_retry_s, self._randomness)
        self._free_accounts(tx, [result.item for result in results])

    def _free_accounts(self, tx: Transaction, items: Sequence[PayItem | AskItem]) -> None:
        """One account, one call at a time: whoever waits for these accounts is due now."""
        freed = accounts.release(tx, [item.key for item in items], self._worker)
        if freed:
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
            endings.give_up(tx, row, Reason.UNEXPECTED_ERROR, error, actor=ACTOR)


def _back_to_ready(tx: Transaction, row: WorkRow, purchase: Row[Any]) -> bool:
    """Close the attempt of a holder that died or lost its lease before the intent. False: its intent was committed while
    this claim waited for the attempt's row, so there is a question row now, and nothing to do here."""
    if purchase.state != PurchaseState.PAYING:
        return True
    if not attempts.close_open(tx, purchase.id, "abandoned") and attempts.submitted(tx, [purchase.id]):
        work.finish(tx, row)
        return False
    orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.READY)
    return True
