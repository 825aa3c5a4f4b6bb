"""The two subjects of the railway contract: our HTTP clients against the sandbox's web app, and its in-process twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.ports import CaptchaSolver, Cashier, PaymentForm, Railway, RailwaySession
from pipeline.railway.captcha import NoSolver
from pipeline.railway.http_cashier import HttpCashier
from pipeline.railway.http_railway import HttpRailway
from pipeline.railway.sandbox.inprocess import InProcessCashier, InProcessRailway
from pipeline.railway.sandbox.web import serve
from pipeline.railway.sandbox.world import World, open_world

HOLD = "E123456789"
ACCOUNT, PASSWORD = "agent_user01", "not-a-real-one"
NOW = datetime(2014, 11, 17, 12, 31, 20, tzinfo=UTC)


class HandClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self._now = NOW

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class ReadingSolver:
    """Reads the answer where the sandbox's picture holds it: in the JPEG's comment segment."""

    async def solve(self, image: bytes) -> str:
        at = image.index(b"\xff\xfe")
        length = int.from_bytes(image[at + 2 : at + 4], "big")
        return image[at + 4 : at + 2 + length].decode()


class WrongSolver:
    async def solve(self, image: bytes) -> str:
        return f"{len(image)} is wrong"


@dataclass(frozen=True, slots=True)
class Subject:
    """One way to the same world."""

    railway: Railway
    cashier: Cashier
    world: World
    clock: HandClock

    async def login(self) -> RailwaySession:
        return await self.railway.login(ACCOUNT, PASSWORD)

    async def form(self, hold_no: str = HOLD) -> PaymentForm:
        session = await self.login()
        try:
            return await session.payment_form(hold_no)
        finally:
            await session.close()

    def add_hold(self, **changes: Any) -> None:
        self.world.add_hold(hold_body(**changes))

    def moved(self, hold_no: str = HOLD) -> tuple[int, int]:
        """Forms received and debits made for a hold."""
        record = self.world.hold(hold_no)
        assert record is not None
        return record["pays"], record["debits"]


def hold_body(**changes: Any) -> dict[str, Any]:
    """Two sleepers for 1241.00, held for 30 minutes."""
    fields = {
        "account": ACCOUNT,
        "password": PASSWORD,
        "held_order_no": HOLD,
        "train_no": "K1234",
        "departure_at": "2014-11-20T00:30:00+08:00",
        "from": "上海虹桥",
        "to": "北京南",
        "passengers": [
            {"name": "张三", "id_type": "1", "id_no": "00000019000101001X", "ticket_type": "1"},
            {"name": "李四", "id_type": "B", "id_no": "X0000000001", "ticket_type": "2"},
        ],
        "seats": [{"seat": "硬卧下", "price_fen": 62050}, {"seat": "硬卧中", "price_fen": 62050}],
        "price_fen": 124100,
        "deadline_s": 1800,
    }
    return fields | changes


SubjectFactory = Callable[[float, CaptchaSolver], AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def over_http(timeout_s: float, solver: CaptchaSolver) -> AsyncIterator[Subject]:
    clock = HandClock()
    world = open_world(clock, None)
    server = await serve(world, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.port}"
    railway = HttpRailway(base, cashier_url=f"{base}/cashier", timeout_s=timeout_s, clock=clock, solver=solver)
    try:
        yield Subject(railway, HttpCashier(f"{base}/cashier", timeout_s=timeout_s, clock=clock), world, clock)
    finally:
        await server.close()
        world.close()


@asynccontextmanager
async def in_process(timeout_s: float, solver: CaptchaSolver) -> AsyncIterator[Subject]:
    clock = HandClock()
    world = open_world(clock, None)
    railway = InProcessRailway(world, timeout_s=timeout_s, solver=solver)
    try:
        yield Subject(railway, InProcessCashier(world, timeout_s=timeout_s), world, clock)
    finally:
        world.close()


SUBJECTS: dict[str, SubjectFactory] = {"http": over_http, "in_process": in_process}

Scenario = Callable[[Subject], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Runs a scenario with one of the subjects."""

    factory: SubjectFactory

    def run(self, scenario: Scenario, *, timeout_s: float = 5, solver: CaptchaSolver | None = None) -> None:
        async def play() -> None:
            async with self.factory(timeout_s, solver or NoSolver()) as subject:
                await scenario(subject)

        asyncio.run(play())
