"""takit, the Python worker of 2015: raw bodies, a double slash, 代付请求 without password (wire-protocols A.1, A.4, A.5, C.3)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import ClassVar

from tests.integration.clients.client import Client, Job, Json
from tests.integration.clients.counter import PRICE_FEN, Held, tickets_of

GIVE_UP_S = 25 * 60.0  # no callback by then: it checks 12306 itself
BEFORE_DEADLINE_S = 60.0
CHECKS, CHECKS_APART_S = 3, 3.0


class Takit(Client):
    """States are its own: AUTO_PAY (代付 asked), PAY (by hand), CHECK2 (send CONFIRM), FINISH, RETURN, HUMAN."""

    ends: ClassVar[frozenset[str]] = frozenset({"FINISH", "RETURN", "HUMAN"})

    async def poll(self) -> list[Json]:
        return await self.list_orders("//QueryOrders.do")

    async def work(self, job: Job) -> None:
        held = await self.hold(job)
        await self._ask_to_pay(job, held)
        if job.state == "AUTO_PAY":
            await self._wait_for_callback(job, held)
        if job.state == "PAY":
            await self._pay_by_hand(job, held)
        if job.state == "CHECK2":
            await self._confirm(job, held)

    async def _ask_to_pay(self, job: Job, held: Held) -> None:
        price = f"{PRICE_FEN / 100:.1f}"
        hmac = self.sign(self.code, job.order_no, price, held.account)
        body = f"merchantCode={self.code}&orderNo={job.order_no}&price={price}&un={held.account}&comment=&HMAC={hmac}"
        answer = await self.send("//ProcessGoPay.do", body.encode())
        if answer["ret"] is True or answer["errCode"] == "008":
            job.move("AUTO_PAY", "asked")
        else:
            job.move("HUMAN", f"refused {answer}")

    async def _wait_for_callback(self, job: Job, held: Held) -> None:
        try:
            await asyncio.wait_for(job.told.wait(), GIVE_UP_S * self.scale)
        except TimeoutError:
            job.pay_status = "-1"
            await self._check_itself(job, held)
            return
        if job.pay_status == "1":
            job.move("CHECK2", "told it is paid")
        else:
            job.move("PAY", "told anything else")

    async def _check_itself(self, job: Job, held: Held) -> None:
        """Absent from the unpaid list before the deadline counts as paid; a weakness of its own (B.4)."""
        seen: bool | None = None
        for _ in range(CHECKS):
            seen = await self.counter.is_unpaid(held)
            if seen is True:
                break
            await asyncio.sleep(CHECKS_APART_S * self.scale)
        in_time = asyncio.get_running_loop().time() < held.pay_by - BEFORE_DEADLINE_S * self.scale
        if seen is True:
            job.move("PAY", "still unpaid")
        elif seen is False and in_time:
            job.move("CHECK2", "no longer unpaid")
        else:
            job.move("HUMAN", "已超过付款截止时间，可能票已丢，需检查")

    async def _pay_by_hand(self, job: Job, held: Held) -> None:
        if asyncio.get_running_loop().time() > held.pay_by - BEFORE_DEADLINE_S * self.scale:
            job.move("HUMAN", "too late to pay")
        elif await self.counter.pay(held):
            job.move("CHECK2", "paid by hand")
        else:
            job.move("HUMAN", "可能存在未支付情况，需检查")

    async def _confirm(self, job: Job, held: Held) -> None:
        prices = [f"{fen / 100:.2f}" for fen in (42_800, 41_300, 40_000)]
        tickets = tickets_of(held, job.order, prices)
        result = json.dumps({"count": len(tickets), "tickets": tickets}, ensure_ascii=False)  # ", " and ": "
        hmac = self.sign(self.code, job.order_no, "CONFIRM", result, held.account)
        fields = {
            "merchantCode": self.code,
            "orderNo": job.order_no,
            "opt": "CONFIRM",
            "result": result,
            "un": held.account,
            "reason": "",
            "passengerReason": "",
            "comment": "",
            "HMAC": hmac,
        }
        answer = await self.send("//ProcessPurchase.do", _raw(fields))
        if answer["ret"] is True or answer["errCode"] == "008":
            job.move("FINISH", "confirmed")
        else:
            job.move("RETURN", f"refunds its tickets: {answer}")


def _raw(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()
