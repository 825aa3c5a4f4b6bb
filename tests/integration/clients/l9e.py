"""19e, the Java platform since 2013: encoded bodies, jobs that try five times, reactions by errCode (wire-protocols A.1, A.3, C.1).

Of 代付 it knows what the source document added: NEED_PAY in 出票结果 with user name and password.
"""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar
from urllib.parse import urlencode

from tests.integration.clients.client import Client, Job, Json
from tests.integration.clients.counter import Held, tickets_of

TRIES, TRIES_APART_S = 5, 60.0
ROBOT_TRIES = 3
ORDER = ("result", "un", "pw", "reason", "passengerReason", "comment")


class L9e(Client):
    """Its states: 55 pay start, 61 manual, 77 failed, 88 paid, 99 issued."""

    ends: ClassVar[frozenset[str]] = frozenset({"61", "77", "99"})

    def __init__(self, *args: object, password: str, **named: object) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type] # the base's own arguments, passed on
        self.password = password

    def parsed(self, text: str) -> Json:
        """It replaces the text `null` by `"15"` before it parses: there had better be none."""
        found: Json = json.loads(text.replace("null", '"15"'))
        return found

    async def poll(self) -> list[Json]:
        return await self.list_orders("/QueryOrders.do")

    async def work(self, job: Job) -> None:
        held = await self.hold(job)
        result = self._result(job, held)
        answer = await self._report(
            job, "NEED_PAY", result=result, un=held.account, pw=self.password, comment="代付请求"
        )
        job.move("55", f"asked {answer}")
        if answer["ret"] is not True and answer["errCode"] != "008":
            job.move("61", "refused")  # 205, 204, 203, 207 …: a person looks
            return
        await job.told.wait()
        if job.pay_status == "1":
            await self._issue(job, held)
        elif job.pay_status == "2":
            await self._pay_by_robot(job, held)
        else:
            job.move("61", "支付完成,出票异常")

    def _result(self, job: Job, held: Held) -> str:
        tickets = tickets_of(held, job.order, [428, 413, 400])
        return json.dumps({"count": len(tickets), "tickets": tickets}, ensure_ascii=False, separators=(",", ":"))

    async def _issue(self, job: Job, held: Held) -> None:
        answer = await self._report(job, "CONFIRM", result=self._result(job, held), comment="已经出票成功")
        job.move("99" if answer["ret"] is True else "61", f"confirmed {answer}")

    async def _pay_by_robot(self, job: Job, held: Held) -> None:
        for _ in range(ROBOT_TRIES):
            if await self.counter.pay(held):
                job.move("88", "paid by its robot")
                await self._issue(job, held)
                return
        people = json.dumps(
            [{"certNo": one["certNo"], "name": one["name"], "reason": "1"} for one in job.order["passengers"]],
            ensure_ascii=False,
        )
        answer = await self._report(job, "NO_TICKET", reason="6", passengerReason=people, comment="出票失败")
        job.move("77", f"no ticket {answer}")

    async def _report(self, job: Job, opt: str, **fields: str) -> Json:
        """Its notify job: at most five tries, a minute apart; anything but a clear answer is tried again."""
        hmac = self.sign(self.code, job.order_no, opt, *(fields.get(name, "") for name in ORDER))
        sent = {"merchantCode": self.code, "orderNo": job.order_no, "opt": opt, **fields, "HMAC": hmac}
        answer: Json = {}
        for _ in range(TRIES):
            answer = await self.send("/ProcessPurchase.do", urlencode(sent).encode())
            job.did.append(f"{opt} {answer}")
            if answer["ret"] is True or answer["errCode"] not in ("999", "429"):
                break
            await asyncio.sleep(TRIES_APART_S * self.scale)
        return answer
