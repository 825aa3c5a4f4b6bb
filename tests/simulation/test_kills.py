"""A process dies at every point where it touches the outside, and is started again: paid at most once, nobody lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.simulation import books
from tests.simulation.house import House, simulate
from tests.simulation.incarnation import DIE, Act
from tests.simulation.trips import SAMPLE

PROCESSES = ("intake", "credentials", "payment", "settlement", "notification", "relay")


class At:
    """A plan: do `act` at the nth time that a stage passes a point."""

    def __init__(self, stage: str, point: str, nth: int = 1, act: Act = DIE) -> None:
        self._stage, self._point, self._nth, self._act = stage, point, nth, act
        self.times = 0

    def __call__(self, stage: str, point: str) -> Act:
        if (stage, point) != (self._stage, self._point):
            return None
        self.times += 1
        return self._act if self.times == self._nth else None


def points_of(behaviour: str, stage: str) -> list[tuple[str, int]]:
    """Every point that a stage passes for one order of this behaviour: (name, which time)."""
    found: list[tuple[str, int]] = []

    async def scenario(house: House) -> None:
        passed: Counter[str] = Counter()

        def note(where: str, point: str) -> Act:
            if where == stage and not point.startswith(("Breaker", "Relay")):
                passed[point] += 1
                found.append((point, passed[point]))
            return None

        house.plan = note
        await house.buy(SAMPLE, behaviour)
        await house.until(lambda: books.is_done(house, SAMPLE))

    simulate(scenario)
    return found


def end_after(
    behaviour: str, stage: str, point: str, nth: int, act: Act = DIE, workers: int = 1
) -> tuple[str, str | None, int, list[str]]:
    """How one order ends when that happens there: state, reason, forms received, what the agent was told."""
    ends: list[tuple[str, str | None, int, list[str]]] = []

    async def scenario(house: House) -> None:
        plan = At(stage, point, nth, act)
        house.plan = plan
        hold = await house.buy(SAMPLE, behaviour)
        await house.until(lambda: books.is_done(house, SAMPLE), within_s=9000)
        await house.rest(1)
        assert plan.times >= nth
        books.check_books(house)
        row = books.purchase(house, SAMPLE)
        pays = len(books.journal(house, "pay", held_order_no=hold))
        assert len(books.journal(house, "debit", held_order_no=hold)) == (1 if row.state == "settled" else 0)
        assert books.generations(house, SAMPLE) == 1
        ends.append((row.state, row.reason, pays, books.told(house, SAMPLE)))

    simulate(scenario, workers=workers)
    return ends[0]
