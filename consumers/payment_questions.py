"""Questions about a submitted payment, put to 12306 and to the cashier (DESIGN section 5.5). They move nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from consumers.payment_items import Again, Asked, AskItem, PaymentResult, Question
from consumers.payment_login import Login
from pipeline.breaker import Breaker
from pipeline.errors import Unreachable, UpstreamError
from pipeline.ports import Cashier, Clock, RailwayOrder, RailwaySession, Trade
from pipeline.proof import Finding, Listing, Proven, issued, listing_of, weigh
from pipeline.store.engine import StoreUnavailable

QUESTIONS_IN_HAND = 2  # asked at once after the submit; later questions are rows


@dataclass(frozen=True, slots=True)
class PayTimes:
    """The settings of a payment call, in seconds."""

    margin_s: float
    grace_s: float
    lease_s: float
    pay_timeout_s: float
    in_hand_retry_s: float
    intent_age_s: float
    list_retry_s: float

    @property
    def before_intent_s(self) -> float:
        """How long all before the intent may take, so that the submit still ends within the lease."""
        return (self.lease_s - self.pay_timeout_s) * 0.8

    @property
    def questions_s(self) -> float:
        """How long the first questions may take within the same lease."""
        return (self.lease_s - self.pay_timeout_s) * 0.15


class Questions:
    """Asks both sides; silence, time-outs and failed logins come back as answers that prove nothing."""

    def __init__(
        self,
        login: Login,
        cashier: Cashier,
        clock: Clock,
        railway_breaker: Breaker,
        cashier_breaker: Breaker,
        times: PayTimes,
    ) -> None:
        self._login, self._cashier, self._clock = login, cashier, clock
        self._railway_breaker, self._cashier_breaker = railway_breaker, cashier_breaker
        self._times = times

    async def at_once(self, session: RailwaySession, question: Question) -> Finding | None:
        """The first questions, right after the submit and in its session; None when they proved nothing in time."""
        try:
            async with asyncio.timeout(self._times.questions_s):
                for asked in range(QUESTIONS_IN_HAND):
                    if asked:
                        await asyncio.sleep(min(self._times.list_retry_s, self._times.questions_s / 4))
                    finding = await self._weigh(session, question)
                    if finding.proven is not Proven.NOTHING:
                        return finding
        except TimeoutError:
            return None
        return None

    async def ask(self, item: AskItem) -> PaymentResult:
        """One round of questions about a submitted payment, to 12306 and to the cashier. Silence proves nothing."""
        session: RailwaySession | None = None
        detail = ""
        try:
            async with asyncio.timeout(self._times.before_intent_s):
                try:
                    session = await self._login.for_questions(item.question.login, item.password_sealed)
                except UpstreamError as error:
                    detail = str(error)
                finding = await self._weigh(session, item.question)
        except StoreUnavailable:
            return Again(item, "database_gone", counts=False)
        except TimeoutError:
            return Again(item, "questions_took_too_long")
        except asyncio.CancelledError:
            return Again(item, "drained", delay_s=0.0, counts=False)
        finally:
            if session is not None:
                await session.close()
        return Asked(item, finding, detail)

    async def _weigh(self, session: RailwaySession | None, question: Question) -> Finding:
        asked_at = self._clock.now()  # before both: an answer is never older than the moment it is judged by
        listing, finished = (None, None) if session is None else await self._listing(session, question)
        trade = await self._trade(question)
        finding = weigh(
            listing, trade, amount_fen=question.amount_fen, asked_at=asked_at, final_after=question.final_after
        )
        if finding.proven is Proven.PAID and finished is not None:
            return finding._replace(tickets=issued(finished))
        return finding

    async def _listing(self, session: RailwaySession, question: Question) -> tuple[Listing | None, RailwayOrder | None]:
        """Where 12306 has the order, and the order where that is among the finished."""
        try:
            finished = await session.find_order(question.held_order_no, around=question.requested_at)
            unpaid = await session.unpaid_orders()
        except UpstreamError as error:
            self._login.note(question.login, error)
            return None, None
        self._railway_breaker.succeeded()
        held = any(order.hold_no == question.held_order_no for order in unpaid)
        return listing_of(finished, in_unpaid_list=held), finished

    async def _trade(self, question: Question) -> Trade | None:
        try:
            trade = await self._cashier.trade(question.trade_no)
        except UpstreamError as error:
            if isinstance(error, Unreachable):
                self._cashier_breaker.failed(question.login, error.detail)
            return None
        self._cashier_breaker.succeeded()
        return trade
