"""The sandbox without sockets: the ports of pipeline/ports.py straight on the world, for tests in virtual time.

Where a client over HTTP would wait in vain, this one sleeps `timeout_s` and then says what the client would say.
"""

from __future__ import annotations

import asyncio
import functools
import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from pipeline.errors import Busy, Declined, LoginRefused, SessionLost, Unreachable, Upstream, UpstreamError
from pipeline.ports import (
    CallbackAnswer,
    CaptchaSolver,
    CashierLine,
    PaymentForm,
    RailwayOrder,
    RailwaySession,
    SubmitAnswer,
    SubmitKind,
    Trade,
)
from pipeline.railway.sandbox import behaviours, forms
from pipeline.railway.sandbox.behaviours import Fault, Says, Way
from pipeline.railway.sandbox.pages import captcha_image
from pipeline.railway.sandbox.ticketing import CHINA
from pipeline.railway.sandbox.till import Reply
from pipeline.railway.sandbox.world import World

BASE = "http://sandbox.invalid"  # stands in the form's links; nobody resolves it
_ASIDE = timedelta(days=1)

_LOGIN_REFUSALS = {
    behaviours.WRONG_PASSWORD: "wrong_password",
    behaviours.NO_SUCH_LOGIN: "wrong_password",
    behaviours.LOCKED: "account_locked",
    behaviours.CAPTCHA_WRONG: "captcha_required",
}
_LOST = frozenset({behaviours.TAKEN_OVER, behaviours.NOT_LOGGED_IN})
T = TypeVar("T")


class _Door:
    """One upstream of the world: turns its faults and words into the errors of pipeline/errors.py."""

    def __init__(self, world: World, upstream: Upstream, timeout_s: float) -> None:
        self.world = world
        self.upstream: Upstream = upstream
        self.timeout_s = timeout_s

    async def ask(self, call: Callable[[], T]) -> T:
        """The call's answer, once it is on disk. Raises UpstreamError."""
        try:
            answer = call()
        except Fault as fault:
            await self.world.synced()
            if fault.way is Way.SILENCE:
                await asyncio.sleep(self.timeout_s)
            raise Unreachable(self.upstream, fault.way.value) from None
        except Says as says:
            await self.world.synced()
            raise _said(self.upstream, says.text) from None
        await self.world.synced()
        return answer


def _said(upstream: Upstream, text: str) -> UpstreamError:
    if text in _LOGIN_REFUSALS:
        return LoginRefused(_LOGIN_REFUSALS[text], text)
    if text in _LOST:
        return SessionLost(upstream, text)
    if text == behaviours.NO_SUCH_ORDER:
        return Declined(upstream, "hold_not_found", text)
    return Busy(upstream, text)


class InProcessRailway:
    """`pipeline.ports.Railway`. Without a `solver` a wanted captcha ends the login."""

    def __init__(self, world: World, *, timeout_s: float = 30.0, solver: CaptchaSolver | None = None) -> None:
        self._door = _Door(world, "railway", timeout_s)
        self._solver = solver

    async def login(self, login: str, password: str) -> RailwaySession:
        ticketing, sid = self._door.world.ticketing, uuid.uuid4().hex
        await self._door.ask(ticketing.alive)
        captcha = ""
        if ticketing.captcha_wanted(login):
            if self._solver is None:
                raise LoginRefused("captcha_required", "12306 wants a captcha and nobody solves it")
            captcha = await self._solver.solve(captcha_image(ticketing.captcha_answer(sid)))
        await self._door.ask(lambda: ticketing.login(sid, login, password, captcha))
        await self._door.ask(lambda: ticketing.enter(sid))
        return InProcessSession(self._door, sid)

    async def probe(self) -> None:
        await self._door.ask(self._door.world.ticketing.alive)


class InProcessSession:
    """`pipeline.ports.RailwaySession`."""

    def __init__(self, door: _Door, sid: str) -> None:
        self._door = door
        self._sid = sid
        self.skew_s = door.world.skew_s

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        return await self._door.ask(lambda: self._door.world.ticketing.unpaid(self._sid))

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        first, last = ((around + aside).astimezone(CHINA).date() for aside in (-_ASIDE, _ASIDE))
        found: list[RailwayOrder] = []
        for departed in (False, True):  # 未出行, then 历史, as the client over HTTP asks
            found += await self._door.ask(functools.partial(self._finished, hold_no, first, last, departed=departed))
        return next((order for order in found if order.hold_no == hold_no), None)

    def _finished(self, hold_no: str, first: date, last: date, *, departed: bool) -> tuple[RailwayOrder, ...]:
        return self._door.world.ticketing.finished(self._sid, hold_no, first, last, departed=departed)

    async def payment_form(self, hold_no: str) -> PaymentForm:
        world = self._door.world
        await self._door.ask(lambda: world.ticketing.choose(self._sid, hold_no))
        trade = await self._door.ask(lambda: world.ticketing.order_form(self._sid))
        await self._door.ask(lambda: world.ticketing.gateway(trade.trade_no))
        fields = forms.cashier_fields(trade, world.find(hold_no), world.now(), "127.0.0.1", BASE)
        return PaymentForm(hold_no, trade.trade_no, trade.amount_fen, trade.deadline, fields)

    async def close(self) -> None:
        """Nothing is sent: 12306 keeps the session until somebody logs in again."""


class InProcessCashier:
    """`pipeline.ports.Cashier`."""

    def __init__(self, world: World, *, timeout_s: float = 30.0) -> None:
        self._door = _Door(world, "cashier", timeout_s)

    async def open(self) -> CashierLine:
        await self._door.ask(self._door.world.till.connected)
        return InProcessLine(self._door.world, self._door.timeout_s)

    async def trade(self, trade_no: str) -> Trade:
        return await self._door.ask(lambda: self._door.world.till.trade(trade_no))

    async def probe(self) -> None:
        await self.trade("0")


class InProcessLine:
    """`pipeline.ports.CashierLine`: good for one submit."""

    def __init__(self, world: World, timeout_s: float) -> None:
        self._world = world
        self._timeout_s = timeout_s
        self._used = False

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        if self._used or not still_ours():
            return SubmitAnswer(SubmitKind.NOT_SENT, "the line was used before" if self._used else "no longer ours")
        self._used = True
        try:
            reply = self._world.till.submit(dict(form.fields))
        except Fault as fault:
            reply = Reply(fault.way)
        await self._world.synced()
        silent = reply.way is Way.SILENCE or reply.delay_s >= self._timeout_s
        await asyncio.sleep(self._timeout_s if silent else reply.delay_s)
        if silent:
            return SubmitAnswer(SubmitKind.UNKNOWN, "timed out")
        return _read(reply)

    async def close(self) -> None:
        self._used = True


def _read(reply: Reply) -> SubmitAnswer:
    """What the client over HTTP makes of the cashier's page."""
    if reply.way is Way.SUCCESS:
        return SubmitAnswer(SubmitKind.SENT, "支付成功")
    if reply.way is Way.REFUSED and reply.text in {behaviours.NO_BALANCE, behaviours.NOT_PAYABLE}:
        return SubmitAnswer(SubmitKind.REFUSED, reply.text)
    return SubmitAnswer(SubmitKind.UNKNOWN, reply.text or reply.way.value)


class InProcessAgents:
    """`pipeline.ports.AgentCaller` for the addresses `…/sandbox/agents/{code}/callback`."""

    def __init__(self, world: World, *, timeout_s: float = 10.0) -> None:
        self._world = world
        self._timeout_s = timeout_s

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        parts = urlsplit(url).path.strip("/").split("/")
        if parts[:2] != ["sandbox", "agents"] or parts[3:] != ["callback"]:
            return CallbackAnswer(delivered=False, status=404, answer="404: Not Found")
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        webhook_id = next((value for name, value in headers.items() if name.lower() == "webhook-id"), None)
        try:
            answer = self._world.agents.callback(parts[2], form, webhook_id)
        except Fault as fault:
            await self._world.synced()
            if fault.way is Way.SILENCE:
                await asyncio.sleep(self._timeout_s)
            return CallbackAnswer(delivered=False, status=None, answer=fault.way.value)
        await self._world.synced()
        delivered = answer.status == 200 and answer.body["ret"] is True
        return CallbackAnswer(delivered, answer.status, json.dumps(answer.body, ensure_ascii=False))
