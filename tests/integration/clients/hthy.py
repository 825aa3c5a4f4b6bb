"""航天华有, the Java platform of 2015: half-encoded bodies, five repeats, its own payment on 2 (wire-protocols A.1, A.5, C.2)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

from tests.integration.clients.client import Client, Job, Json
from tests.integration.clients.counter import PRICE_FEN, Held, tickets_of

REPEATS, REPEATS_APART_S = 5, 5.0
JSON_SIGNS = '{}[]:,"@'


class Hthy(Client):
    """State12306 is its own: 4 held, 5 paying, 6 paid, 7 pay failed; `question` goes to a person."""

    ends: ClassVar[frozenset[str]] = frozenset({"6", "7", "question"})

    async def poll(self) -> list[Json]:
        return await self.list_orders("/QueryOrders.do")

    async def work(self, job: Job) -> None:
        held = await self.hold(job)
        job.move("5", "qunarpaying")
        if not await self._ask_to_pay(job, held):
            job.move("question", "代付请求 was refused five times")
            return
        await job.told.wait()
        if job.pay_status == "1":
            job.move("6", "qunarpaytrue")
        elif job.pay_status == "2":
            await self._pay_itself(job, held)
        else:
            job.move("question", "支付异常，请客服去12306核对")

    async def _ask_to_pay(self, job: Job, held: Held) -> bool:
        """Each repeat tries another address: its servlet posts to the bare base, another place doubles the file name."""
        price = str(float(PRICE_FEN / 100))
        hmac = self.sign(self.code, job.order_no, price, held.account, "代付")
        body = _half_encoded(
            {
                "merchantCode": self.code,
                "orderNo": job.order_no,
                "price": price,
                "un": held.account,
                "comment": "代付",
                "HMAC": hmac,
            }
        )
        paths = ("/", "/ProcessGoPay.do/ProcessGoPay.do", "/ProcessGoPay.do", "/ProcessGoPay.do", "/ProcessGoPay.do")
        agreed = False
        for path in paths[:REPEATS]:
            answer = await self.send(path, body)
            job.did.append(f"{path} {answer}")
            if path == "/ProcessGoPay.do":
                agreed = agreed or answer["ret"] is True or str(answer["ret"]) == "true"
            await asyncio.sleep(REPEATS_APART_S * self.scale)
        return agreed  # it goes on repeating after it was agreed: two of its threads hold the same order

    def told(self, form: Mapping[str, str]) -> Json:
        """It alone checks the signature, in either case."""
        text = f"{self.key}{self.code}{form['orderNo']}{form['payStatus']}"
        expected = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        if form["HMAC"].lower() != expected.lower():
            self.refused_callbacks += 1
            return {"ret": False, "msg": "签名错误"}
        return super().told(form)

    async def _pay_itself(self, job: Job, held: Held) -> None:
        job.move("4", "qunarpayfalse")
        if not await self.counter.pay(held):
            await self._report(job, "NO_TICKET", reason="0", passengerReason="", comment="支付失败")
            job.move("7", "could not pay either")
            return
        prices = [fen / 100 for fen in (42_800, 41_300, 40_000)]
        tickets = tickets_of(held, job.order, prices)
        result = json.dumps({"count": str(len(tickets)), "tickets": tickets}, ensure_ascii=False, separators=(",", ":"))
        await self._report(job, "CONFIRM", result=result, comment="已出票")
        job.move("6", "paid by itself")

    async def _report(self, job: Job, opt: str, **fields: str) -> None:
        """出票结果, in the subset of fields that it knows."""
        names = ("result", "reason", "passengerReason", "comment")
        hmac = self.sign(self.code, job.order_no, opt, *(fields.get(name, "") for name in names))
        sent = {"merchantCode": self.code, "orderNo": job.order_no, "opt": opt, **fields, "HMAC": hmac}
        answer = await self.send("/ProcessPurchase.do", _half_encoded(sent))
        job.did.append(f"{opt} {answer}")


def _half_encoded(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={quote(value, safe=JSON_SIGNS)}" for name, value in fields.items()).encode()
