"""Looking at the held order before paying it (DESIGN section 5.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from consumers.payment_items import PayItem
from pipeline.matching import Mismatch, differs
from pipeline.ports import Clock, RailwayOrder, RailwaySession
from pipeline.proof import Listing, listing_of
from pipeline.reasons import Reason

LIST_TRIES = 5  # asked again this often: the unpaid list is empty for seconds at times (wire-protocols B.2)


@dataclass(frozen=True, slots=True)
class Unfit:
    """What speaks against paying. `paid_there`: 12306 lists the hold as paid, or as paid and given back."""

    reason: Reason
    detail: str
    paid_there: bool = False


class Look:
    def __init__(self, clock: Clock, list_retry_s: float, margin_s: float) -> None:
        self._clock, self._list_retry_s, self._margin = clock, list_retry_s, timedelta(seconds=margin_s)

    async def find(self, session: RailwaySession, item: PayItem) -> RailwayOrder | Unfit:
        """The held order that may be paid, or why not. Raises UpstreamError."""
        for _ in range(LIST_TRIES):
            found = self._pick(await session.unpaid_orders(), item)
            if found is not None:
                return self._in_time(found)
            await asyncio.sleep(self._list_retry_s)
        found = self._pick(await session.unpaid_orders(), item)
        return self._in_time(found) if found is not None else await self._elsewhere(session, item)

    def _pick(self, listed: Sequence[RailwayOrder], item: PayItem) -> RailwayOrder | Unfit | None:
        if item.held_order_no is None:
            return self._only_match(listed, item)
        named = [order for order in listed if order.hold_no == item.held_order_no]
        if not named:
            return None
        mismatch = differs(named[0], item.expected)
        return named[0] if mismatch is None else _unfit(mismatch)

    def _only_match(self, listed: Sequence[RailwayOrder], item: PayItem) -> RailwayOrder | Unfit | None:
        """ProcessGoPay names no hold: the one unpaid order of the account that matches is meant."""
        judged = [(order, differs(order, item.expected)) for order in listed]
        fitting = [order for order, mismatch in judged if mismatch is None]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            return Unfit(Reason.ORDER_MISMATCH, f"账号里有 {len(fitting)} 个相符的占座订单, 无法判断付哪一个")
        if len(judged) == 1 and judged[0][1] is not None:
            return _unfit(judged[0][1])
        return Unfit(Reason.ORDER_MISMATCH, f"账号里 {len(judged)} 个占座订单都与订单不符") if judged else None

    def _in_time(self, found: RailwayOrder | Unfit) -> RailwayOrder | Unfit:
        if isinstance(found, Unfit):
            return found
        if found.pay_deadline is None:
            return Unfit(Reason.HOLD_NOT_FOUND, "12306没有给出支付期限")
        if found.pay_deadline - self._margin <= self._clock.now():
            return Unfit(Reason.HOLD_EXPIRED, f"支付期限 {found.pay_deadline.isoformat()}")
        return found

    async def _elsewhere(self, session: RailwaySession, item: PayItem) -> Unfit:
        if item.held_order_no is not None:
            finished = await session.find_order(item.held_order_no, around=item.requested_at)
            if listing_of(finished, in_unpaid_list=False) is not Listing.ABSENT:  # some of it at least
                return Unfit(Reason.ALREADY_PAID, f"占座订单 {item.held_order_no} 在12306已支付", paid_there=True)
        if item.known_deadline is not None and item.known_deadline <= self._clock.now():
            return Unfit(Reason.HOLD_EXPIRED, f"支付期限 {item.known_deadline.isoformat()}")
        return Unfit(Reason.HOLD_NOT_FOUND, "未支付列表和已完成列表都没有")


def _unfit(mismatch: Mismatch) -> Unfit:
    return Unfit(mismatch.reason, mismatch.detail)
