"""Messages that come to intake again: given back by a worker that ended they go together, after a death each by itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from consumers.intake import Intake
from pipeline.acceptance import Limits
from pipeline.broker.port import Delivery, Outgoing
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.runner import Ports
from pipeline.store import control, orders
from pipeline.store.clock import now
from pipeline.transaction_runner import IntakeRunner
from tests.unit.desk_world import Desk, desk_at
from tests.unit.message_samples import ORDER, body

T = TypeVar("T")
NUMBERS = [f"o{number}" for number in range(40)]


class Again:
    """A broker that delivers these once more, and then nothing."""

    connected = True

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.waiting = [Delivery(one, tag, 1, redelivered=True) for tag, one in enumerate(bodies)]
        self.empty = asyncio.Event()

    async def take(self, most: int) -> list[Delivery]:
        if not self.waiting:
            self.empty.set()
            await asyncio.Event().wait()
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return taken

    async def gathered(self, count: int) -> None:
        await asyncio.Event().wait()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is held."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nothing is open."""


class Counting(InlineExecutor):
    transactions = 0

    async def run(self, work: Callable[[], T]) -> T:
        self.transactions += 1
        return await super().run(work)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def bodies(desk: Desk) -> list[bytes]:
    time = desk.clock.moment.isoformat()
    return [
        body("order.paid", ORDER | {"order_no": number}, id=number, subject=number, time=time) for number in NUMBERS
    ]


def take_in(desk: Desk, again: Again) -> int:
    """Intake takes them all; how many transactions it needed."""
    executor = Counting()
    ports = Ports(again, again, desk.store, executor, desk.clock, Metrics())
    runner = IntakeRunner(Intake(Limits(1200.0, 300.0), desk.services.public, desk.clock), ports, careful=False)

    async def until_empty() -> None:
        running = asyncio.ensure_future(runner.run())
        await again.empty.wait()
        runner.stop()
        await running

    asyncio.run(until_empty())
    assert set(desk.read(lambda tx: orders.load(tx, NUMBERS))) == set(NUMBERS)
    return executor.transactions


def test_what_a_worker_gave_back_when_it_ended_is_accepted_together(desk: Desk) -> None:
    assert take_in(desk, Again(bodies(desk))) == 3  # suspected, accepted, cleared
    assert take_in(desk, Again(bodies(desk))) == 3  # and nobody is suspected any longer


def test_what_was_there_when_a_worker_died_goes_one_by_one(desk: Desk) -> None:
    digests = [hashlib.sha256(one).hexdigest() for one in bodies(desk)]
    desk.write(lambda tx: control.suspect_bodies(tx, digests, now(tx)))  # it died before it could clear them
    assert take_in(desk, Again(bodies(desk))) == 1 + 3 * len(NUMBERS)
    assert take_in(desk, Again(bodies(desk))) == 3
