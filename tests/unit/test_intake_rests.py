"""Intake lets messages gather while it rests, in proportion to what its batches take; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from consumers.intake import Intake
from pipeline.acceptance import Limits
from pipeline.broker.port import Delivery, Outgoing
from pipeline.cli.simulation.virtual_loop import run_virtual
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.runner import Ports
from pipeline.stage import MAX_BATCH
from pipeline.transaction_runner import IntakeRunner
from tests.unit.desk_world import Desk, desk_at

T = TypeVar("T")
BODY = b"nobody can read this"


class Arriving:
    """A broker with batches of these sizes ready; `taken_at` are the moments at which they were asked for."""

    connected = True

    def __init__(self, *sizes: int, full_after_s: float | None) -> None:
        """`full_after_s`: how long after it is asked a full batch is here."""
        self._sizes = list(sizes)
        self._full_after_s = full_after_s
        self.taken_at: list[float] = []

    async def take(self, most: int) -> list[Delivery]:
        self.taken_at.append(asyncio.get_running_loop().time())
        if not self._sizes:
            await asyncio.Event().wait()
        return [Delivery(BODY, tag, 1, redelivered=False) for tag in range(min(most, self._sizes.pop(0)))]

    async def gathered(self, count: int) -> None:
        assert count == MAX_BATCH
        await (asyncio.Event().wait() if self._full_after_s is None else asyncio.sleep(self._full_after_s))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is held."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nothing is open."""


class Slow(InlineExecutor):
    """Every transaction takes that long."""

    def __init__(self, desk: Desk, seconds: float) -> None:
        super().__init__()
        self._desk, self._seconds = desk, seconds

    async def run(self, work: Callable[[], T]) -> T:
        self._desk.clock.moment += timedelta(seconds=self._seconds)
        return await super().run(work)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def asked_at(
    desk: Desk, *sizes: int, took_s: float, stopped_after_s: float = 1.0, full_after_s: float | None = None
) -> tuple[list[float], float]:
    """When intake asked for each of these batches and for one more, and when it had ended."""
    broker = Arriving(*sizes, full_after_s=full_after_s)
    ports = Ports(broker, broker, desk.store, Slow(desk, took_s), desk.clock, Metrics())
    runner = IntakeRunner(Intake(Limits(1200.0, 300.0), desk.services.public, desk.clock), ports, careful=False)

    async def scenario() -> float:
        running = asyncio.ensure_future(runner.run())
        await asyncio.sleep(stopped_after_s)
        runner.stop()
        await running
        return asyncio.get_running_loop().time()

    ended = run_virtual(scenario)
    return broker.taken_at, ended


def test_after_a_batch_it_rests_three_times_as_long_as_that_took(desk: Desk) -> None:
    assert asked_at(desk, 1, 20, took_s=0.01)[0] == pytest.approx([0.0, 0.03, 0.06])


def test_behind_a_full_batch_the_next_is_taken_at_once(desk: Desk) -> None:
    assert asked_at(desk, MAX_BATCH, MAX_BATCH, 5, took_s=0.01)[0] == pytest.approx([0.0, 0.0, 0.0, 0.03])


def test_however_slow_the_database_is_it_rests_no_longer_than_a_moment(desk: Desk) -> None:
    assert asked_at(desk, 1, 1, took_s=20.0)[0] == pytest.approx([0.0, 0.2, 0.4])


def test_a_rest_ends_as_soon_as_a_full_batch_is_there(desk: Desk) -> None:
    asked, _ = asked_at(desk, 1, MAX_BATCH, 5, took_s=0.05, full_after_s=0.02)
    assert asked == pytest.approx([0.0, 0.02, 0.02, 0.04])


def test_a_rest_does_not_keep_it_from_ending(desk: Desk) -> None:
    asked, ended = asked_at(desk, 1, took_s=1.0, stopped_after_s=0.05)
    assert [*asked, ended] == pytest.approx([0.0, 0.05])
