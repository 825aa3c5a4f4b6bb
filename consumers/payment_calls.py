"""The payment call: look, intent, submit once, ask (DESIGN section 5). Before the intent everything may be retried; after it
nothing is sent again, ever, for this purchase.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from consumers.payment_binds import HoldBinder
from consumers.payment_items import (
    Again,
    Ended,
    FoundAbnormal,
    IntentLost,
    PayItem,
    PaymentResult,
    Question,
    Submitted,
)
from consumers.payment_login import Login
from consumers.payment_look import Look, Unfit
from consumers.payment_questions import PayTimes, Questions
from pipeline.breaker import Breaker
from pipeline.errors import (
    Busy,
    Declined,
    Garbled,
    LoginRefused,
    SessionLost,
    Unreachable,
    UpstreamError,
    password_went_out,
)
from pipeline.intents import IntentWriter, Recorded, Unclear
from pipeline.ports import (
    Cashier,
    CashierLine,
    Clock,
    PaymentForm,
    RailwayOrder,
    RailwaySession,
    Randomness,
    SubmitKind,
)
from pipeline.reasons import Reason
from pipeline.retry import jittered
from pipeline.stage import Executor
from pipeline.store import attempts, recovery
from pipeline.store.attempts import FAILED, HOLD_TAKEN, NO_FUNDS, Intent
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.store.purchases import FoundHold
from pipeline.store.work import Step, WorkRow, work_key

log = structlog.get_logger()
T = TypeVar("T")

TRANSIENT = (Unreachable, Busy, Garbled, SessionLost)
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 5.0


class PaymentCalls:
    """Everything the payment stage does outside of transactions."""

    def __init__(
        self,
        login: Login,
        cashier: Cashier,
        intents: IntentWriter,
        store: Store,
        executor: Executor,
        clock: Clock,
        randomness: Randomness,
        railway_breaker: Breaker,
        cashier_breaker: Breaker,
        questions: Questions,
        times: PayTimes,
    ) -> None:
        self._login, self._cashier, self._intents = login, cashier, intents
        self._store, self._executor = store, executor
        self._clock, self._randomness = clock, randomness
        self._railway_breaker, self._cashier_breaker = railway_breaker, cashier_breaker
        self._times = times
        self._questions = questions
        self._binds = HoldBinder(store, executor)
        self._look = Look(clock, times.list_retry_s, times.margin_s)

    async def pay(self, item: PayItem) -> PaymentResult:
        """One purchase from login to its first questions. Never raises for what upstreams do."""
        session: RailwaySession | None = None
        line: CashierLine | None = None
        try:
            async with asyncio.timeout(self._times.before_intent_s):
                prepared = await self._in_hand(lambda: self._before_intent(item))
                if not isinstance(prepared, _Prepared):
                    return prepared
                session, line = prepared.session, prepared.line
        except LoginRefused as refused:
            return Ended(item, Reason(refused.reason), refused.detail)
        except Declined as declined:  # on the way to the form: the look had found it unpaid
            return Ended(item, Reason(declined.reason), declined.detail, asked=True)
        except UpstreamError as error:
            return Again(item, str(error))
        except StoreUnavailable:
            return Again(item, "database_gone", counts=False)  # nothing is wrong with this purchase
        except TimeoutError:
            return Again(item, "before_intent_took_too_long")
        except asyncio.CancelledError:
            return Again(item, "drained", delay_s=0.0, counts=False)  # cancelled by a drain, nothing was submitted
        try:
            item.withdrawable = False
            return await self._intent_and_submit(item, prepared)
        finally:
            await _close(line)
            await _close(session)

    async def _before_intent(self, item: PayItem) -> _Prepared | PaymentResult:
        session = await self._login.before_intent(item)
        kept = False
        try:
            prepared = await self._prepared(item, session)
            kept = isinstance(prepared, _Prepared)
            return prepared
        except UpstreamError as error:
            if error.upstream == "railway":
                self._login.note(item.login, error)
            raise
        finally:
            if not kept:
                await session.close()
                await self._login.went_through(item)

    async def _prepared(self, item: PayItem, session: RailwaySession) -> _Prepared | PaymentResult:
        """Look, bind, form, open line: what the intent needs, or how the purchase ends without one."""
        found = await self._look.find(session, item)
        self._railway_breaker.succeeded()
        if isinstance(found, Unfit):
            return await self._unfit(item, found)
        bound = await self._bind(item, found)
        if bound is not None:
            return bound
        form = await session.payment_form(found.hold_no)
        if form.amount_fen != found.total_fen:
            detail = f"支付表单 {form.amount_fen} 分, 占座金额 {found.total_fen} 分"
            return Ended(item, Reason.PRICE_MISMATCH, detail, asked=True)
        return _Prepared(session, await self._open_line(item), found, form)

    async def _open_line(self, item: PayItem) -> CashierLine:
        try:
            line = await self._cashier.open()
        except UpstreamError as error:
            self._cashier_breaker.failed(item.login, error.detail)
            raise
        return line  # no success yet: a cashier in maintenance takes connections too, and answers none

    async def _unfit(self, item: PayItem, unfit: Unfit) -> PaymentResult:
        if unfit.paid_there and await self._write(lambda tx: _is_ours(tx, item)):
            return FoundAbnormal(item, Reason.PAID_ELSEWHERE, unfit.detail)
        return Ended(item, unfit.reason, unfit.detail, asked=item.held_order_no is not None)

    async def _bind(self, item: PayItem, found: RailwayOrder) -> PaymentResult | None:
        """Bind hold number and deadline to attempt and purchase. A hold that another order has is a conflict."""
        deadline = found.pay_deadline or item.stop_at
        stop_at = min(item.stop_at, deadline - timedelta(seconds=self._times.margin_s))
        refusal = await self._binds.bind(item, FoundHold(item.purchase_id, found.hold_no, deadline, stop_at))
        item.stop_at = stop_at  # what the agent is told when it is still in doubt is due then
        return None if refusal is None else _refused_intent(item, refusal)

    async def _intent_and_submit(self, item: PayItem, prepared: _Prepared) -> PaymentResult:
        form, found = prepared.form, prepared.found
        intent = Intent(
            attempt_id=item.attempt_id,
            fence=item.row.fence,
            purchase_id=item.purchase_id,
            order_no=item.row.order_no,
            generation=item.row.generation,
            agent=item.agent,
            login=item.login,
            held_order_no=found.hold_no,
            trade_no=form.trade_no,
            amount_fen=form.amount_fen,
            form_deadline=form.deadline,
            final_after=max(form.deadline, found.pay_deadline or form.deadline)
            + timedelta(seconds=self._times.grace_s),
            urgency=item.stop_at,
        )
        try:
            recorded = await self._intents.record(intent)
        except Unclear:
            return IntentLost(item)
        if not isinstance(recorded, Recorded):
            return _refused_intent(item, recorded)
        answer = await prepared.line.submit(
            form, lambda: self._clock.monotonic() - recorded.since < self._times.intent_age_s
        )
        question = Question(
            item.login, intent.held_order_no, intent.trade_no, intent.amount_fen, intent.final_after, item.requested_at
        )
        asks = answer.kind in (SubmitKind.SENT, SubmitKind.UNKNOWN)
        finding = await self._questions.at_once(prepared.session, question) if asks else None
        return Submitted(item, _ask_row(item), answer, finding)

    async def _in_hand(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try again for as long as it is held in hand; what is left then becomes a row (DESIGN section 5.3)."""
        end = self._clock.monotonic() + self._times.in_hand_retry_s
        try:
            return await work()  # tenacity's own price is paid by those that must try again
        except Exception as error:
            if not _may_be_made_again(error):
                raise
            failed = [error]

        def over(_state: RetryCallState) -> bool:
            return self._clock.monotonic() >= end or self._railway_breaker.is_open or self._cashier_breaker.is_open

        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_be_made_again), stop=over, wait=self._wait, sleep=asyncio.sleep, reraise=True
        )

        async def attempt() -> T:  # tenacity awaits what is written as a coroutine function
            if failed:
                raise failed.pop()
            return await work()

        return await retrying(attempt)

    def _wait(self, state: RetryCallState) -> float:
        return jittered(min(FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1), LONGEST_WAIT_S), self._randomness)

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        return (await self._executor.run(lambda: self._store.write(work))).value


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that the intent needs: everything before it is done and the line to the cashier is open."""

    session: RailwaySession
    line: CashierLine
    found: RailwayOrder
    form: PaymentForm


def _may_be_made_again(error: BaseException) -> bool:
    """At once. A login that may count as a wrong password is not: the fourth locks the account (wire-protocols B.1)."""
    return isinstance(error, TRANSIENT) and not password_went_out(error)


async def _close(opened: CashierLine | RailwaySession) -> None:
    try:
        await opened.close()
    except Exception:  # what is known of the payment must not be lost over this
        log.exception("close_failed")


def _refused_intent(item: PayItem, refusal: str) -> PaymentResult:
    if refusal == NO_FUNDS:
        return Ended(item, Reason.INSUFFICIENT_FUNDS, "采购资金不足以支付该占座订单", asked=True)
    if refusal == HOLD_TAKEN:
        return Ended(item, Reason.HELD_ORDER_CONFLICT, "该占座订单已用于另一订单", asked=True)
    if refusal == FAILED:
        return Again(item, "intent_failed")
    return Again(item, "stopped", delay_s=0.0, counts=False)  # whoever stopped it has ended the purchase


def _is_ours(tx: Transaction, item: PayItem) -> bool:
    """Whether something of ours was submitted for this order by another generation, or may have been before a restore."""
    order_no = item.row.order_no
    return attempts.ever_submitted(tx, order_no, item.purchase_id) or recovery.may_be_lost(tx, order_no)


def _ask_row(item: PayItem) -> WorkRow:
    """The question row as the intent's transaction wrote it: ours, fence 1 (see `payment.follow_up`)."""
    row = item.row
    return WorkRow(
        key=work_key(row.order_no, row.generation, Step.ASK),
        order_no=row.order_no,
        generation=row.generation,
        step=Step.ASK,
        fence=1,
        version=0,
        tries=0,
        deaths=0,
        due_at=row.due_at,
        urgency=row.urgency,
        created_at=row.created_at,
        first_failed_at=None,
    )
