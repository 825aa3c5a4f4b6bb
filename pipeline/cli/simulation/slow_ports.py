"""12306, cashier and agents that take their time, and whose answers get lost: between the processes and the sandbox.

The oracle sees each form go out right before the cashier's side of the sandbox has it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from pipeline.cli.simulation.oracle import Oracle
from pipeline.cli.simulation.swarm import Swarm
from pipeline.errors import PASSWORD_WENT_OUT, Busy, Garbled, SessionLost, Unreachable, Upstream
from pipeline.ports import (
    AgentCaller,
    CallbackAnswer,
    Cashier,
    CashierLine,
    PaymentForm,
    Railway,
    RailwayOrder,
    RailwaySession,
    SubmitAnswer,
    SubmitKind,
    Trade,
)
from pipeline.railway.sandbox.world import World

T = TypeVar("T")
LOST = "the answer was lost"
LONGEST_S = 14.0  # there and back stay within PAY_TIMEOUT_S, past which the real clients give up
LATEST_FORM_S = 1_200.0
SET_BACK_WITHIN_S = 1_500.0  # if no form is taken any more from then on: longer would only be an outage
PAST_GRACE_S = 300.0


def _nobody_asks() -> bool:
    return True


class Road:
    """The way there and back. `on` False: the phase without faults."""

    def __init__(
        self,
        swarm: Swarm,
        randomness: random.Random,
        oracle: Oracle,
        world: World,
        run: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._swarm, self._random, self._world, self._run = swarm, randomness, world, run
        self.oracle = oracle
        self.on = True
        self.lost = self.in_flight = self.set_back = 0
        self._under_way = 0  # forms, now
        self.timeout_s = swarm.settings.pay_timeout_s

    async def wait(self) -> None:
        if self.on and self._random.random() < self._swarm.slow:
            await asyncio.sleep(min(self._random.expovariate(1 / self._swarm.slow_by_s), LONGEST_S))

    def takes_for_ever(self) -> bool:
        return self.on and self._random.random() < self._swarm.in_flight

    def _sets_back(self) -> bool:
        """Nothing is drawn where it is off: what such a seed does stays as it was."""
        return bool(self._swarm.sets_back) and self._random.random() < self._swarm.sets_back

    def arrives_later(self, form: PaymentForm, line: CashierLine) -> None:
        """Whoever sends it now may be dead by then. The clock is set back for a form that is under way alone: of another one daifu
        may have the proof, by a clock that was right, that it can't be taken any more."""
        sent = self.oracle.sent(form)
        past_s = (form.deadline - sent.at).total_seconds() + self._swarm.settings.pay_grace_s
        sets_back = past_s < SET_BACK_WITHIN_S and self._sets_back() and not self._under_way

        async def come() -> None:
            self._under_way -= 1
            self.oracle.arrives(sent)
            await line.submit(form, _nobody_asks)

        async def arrive() -> None:
            await asyncio.sleep(self._random.uniform(0, LATEST_FORM_S))
            await come()

        async def arrive_too_late() -> None:
            """When by our clocks no form can be taken any more; by 12306's clock, set back until then, it still can."""
            self._world.set_clock({"skew_s": -self._swarm.settings.pay_grace_s - 2 * PAST_GRACE_S})
            await asyncio.sleep(past_s + self._random.uniform(0, PAST_GRACE_S))
            await come()
            self._world.set_clock({"skew_s": 0.0})

        self.in_flight += 1
        self._under_way += 1
        self.set_back += sets_back
        self._run(arrive_too_late() if sets_back else arrive())

    async def go(self, upstream: Upstream, call: Callable[[], Coroutine[Any, Any, T]], note: str = "") -> T:
        """A call that may take long, and whose answer may be lost on the way back. Raises UpstreamError."""
        await self.wait()
        answer = await call()
        await self.wait()
        if self.on and self._random.random() < self._swarm.rates.lost_answer:
            self.lost += 1
            kind = self._random.choice((Unreachable, Unreachable, Busy, Garbled, SessionLost))
            error = kind(upstream, LOST)
            if note:
                error.add_note(note)
            raise error
        return answer


class SlowRailway:
    """`Railway`."""

    def __init__(self, road: Road, inner: Railway) -> None:
        self._road, self._inner = road, inner

    async def login(self, login: str, password: str) -> RailwaySession:
        session = await self._road.go("railway", lambda: self._login(login, password), PASSWORD_WENT_OUT)
        return SlowSession(self._road, session)

    async def _login(self, login: str, password: str) -> RailwaySession:
        return await self._inner.login(login, password)

    async def probe(self) -> None:
        await self._inner.probe()


class SlowSession:
    """`RailwaySession`."""

    def __init__(self, road: Road, inner: RailwaySession) -> None:
        self._road, self._inner = road, inner
        self.skew_s = inner.skew_s

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        async def ask() -> tuple[RailwayOrder, ...]:
            return await self._inner.unpaid_orders()

        return await self._road.go("railway", ask)

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        async def ask() -> RailwayOrder | None:
            return await self._inner.find_order(hold_no, around=around)

        return await self._road.go("railway", ask)

    async def payment_form(self, hold_no: str) -> PaymentForm:
        async def ask() -> PaymentForm:
            return await self._inner.payment_form(hold_no)

        return await self._road.go("railway", ask)

    async def close(self) -> None:
        await self._inner.close()


class SlowTill:
    """`Cashier`."""

    def __init__(self, road: Road, inner: Cashier) -> None:
        self._road, self._inner = road, inner

    async def open(self) -> CashierLine:
        async def connect() -> CashierLine:
            return await self._inner.open()

        return SlowLine(self._road, await self._road.go("cashier", connect))

    async def trade(self, trade_no: str) -> Trade:
        async def ask() -> Trade:
            return await self._inner.trade(trade_no)

        return await self._road.go("cashier", ask)

    async def probe(self) -> None:
        await self._inner.probe()


class SlowLine:
    """`CashierLine`: it is slow before the first byte, when `still_ours` is asked, and after; and a form may be under way for
    much longer than anybody waits for its answer."""

    def __init__(self, road: Road, inner: CashierLine) -> None:
        self._road, self._inner = road, inner
        self._under_way = False

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        await self._road.wait()
        if self._road.takes_for_ever() and still_ours():
            self._under_way = True
            self._road.arrives_later(form, self._inner)
            await asyncio.sleep(self._road.timeout_s)
            return SubmitAnswer(SubmitKind.UNKNOWN, "timed out")
        self._road.oracle.arrives(self._road.oracle.sent(form))
        answer = await self._inner.submit(form, still_ours)
        await self._road.wait()
        return answer

    async def close(self) -> None:
        if not self._under_way:  # what was sent can't be taken back
            await self._inner.close()


class SlowAgents:
    """`AgentCaller`."""

    def __init__(self, road: Road, inner: AgentCaller) -> None:
        self._road, self._inner = road, inner

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        await self._road.wait()
        answer = await self._inner.post(url, body, headers)
        await self._road.wait()
        return answer
