"""What a call asks of 12306 and the cashier is noted for its trace, also what failed; outside of a call nothing is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from pipeline.errors import Unreachable
from pipeline.ports import SubmitKind
from pipeline.traced import TracedCashier, TracedRailway, noting_parts
from pipeline.traces import Part
from tests.unit.desk_world import START, StillClock
from tests.unit.payment_world import Outside, Session, held

BEGAN = START.timestamp()


@dataclass
class Away(Outside):
    """12306 takes a second to say nothing."""

    clock: StillClock = field(default_factory=StillClock)

    async def login(self, login: str, password: str) -> Session:
        self.clock.moment = self.clock.moment.replace(second=START.second + 1)
        raise Unreachable("railway", "no answer to agent_user01")


def test_every_exchange_of_a_payment_is_noted_in_its_order() -> None:
    outside, clock = Outside(unpaid=[held(START)]), StillClock()

    async def pay() -> list[Part]:
        parts = noting_parts()
        session = await TracedRailway(outside, clock).login("agent_user01", "not a real password")
        (found,) = await session.unpaid_orders()
        form = await session.payment_form(found.hold_no)
        line = await TracedCashier(outside, clock).open()
        assert (await line.submit(form, lambda: True)).kind is SubmitKind.SENT
        await session.find_order(found.hold_no, around=START)
        await TracedCashier(outside, clock).trade(form.trade_no)
        await line.close()
        await session.close()
        return parts

    parts = asyncio.run(pay())
    assert outside.submits == 1
    assert outside.open_sessions == 0
    assert [f"{part.upstream} {part.name}" for part in parts] == [
        "railway login", "railway unpaid_orders", "railway payment_form", "cashier open", "cashier submit",
        "railway find_order", "cashier trade",
    ]  # fmt: skip
    assert {part.error for part in parts} == {""}


def test_what_failed_is_noted_by_its_type_and_goes_on_failing() -> None:
    away = Away()

    async def fail() -> list[Part]:
        parts = noting_parts()
        with pytest.raises(Unreachable):
            await TracedRailway(away, away.clock).login("agent_user01", "not a real password")
        return parts

    assert asyncio.run(fail()) == [Part("railway", "login", BEGAN, BEGAN + 1, "Unreachable")]


def test_calls_at_once_note_each_its_own_and_outside_of_a_call_nothing_is_noted() -> None:
    outside, clock = Outside(), StillClock()

    async def call(asks: int) -> list[Part]:
        parts = noting_parts()
        for _ in range(asks):
            await TracedCashier(outside, clock).trade("T1")
            await asyncio.sleep(0)
        return parts

    async def both() -> tuple[list[Part], list[Part]]:
        await TracedCashier(outside, clock).trade("T1")
        return await asyncio.gather(call(1), call(2))

    one, two = asyncio.run(both())
    assert (len(one), len(two)) == (1, 2)
