"""Deaths of everybody at once, a database that goes away at any transaction, frozen workers: paid at most once, nobody lost.

One process dying at every point there is: `test_crash_points.py`.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import update

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.incarnation import DIE, Act
from pipeline.cli.simulation.trips import HOLD_S, SAMPLE
from pipeline.cli.simulation.virtual_clock import START
from pipeline.settings import Settings
from pipeline.store.engine import CommitUnknown, StoreUnavailable
from pipeline.store.tables import work
from tests.simulation import books

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


PAID = ("settled", None, 1, ["1"])


@pytest.mark.parametrize(("behaviour", "ends"), [("ok", PAID), ("timeout_unpaid", ("held_unpaid",))])
def test_death_while_the_cashier_takes_its_time_leaves_only_questions(behaviour: str, ends: tuple[object, ...]) -> None:
    async def scenario(house: House) -> None:
        hold = await house.buy(SAMPLE, behaviour, delay_ms=5_000)
        await house.rest(2)
        assert len(books.journal(house, "pay", held_order_no=hold)) == 1
        house.kill("payment")
        await house.until(lambda: books.is_done(house, SAMPLE))
        books.check_books(house)
        row = books.purchase(house, SAMPLE)
        assert row.state == ends[0]
        assert len(books.journal(house, "pay", held_order_no=hold)) == 1

    simulate(scenario)


def test_everybody_dies_at_once_again_and_again_and_everything_ends() -> None:
    numbers = [f"{SAMPLE}-{n}" for n in range(12)]

    async def scenario(house: House) -> None:
        for number in numbers:
            await house.buy(number, delay_ms=house.randomness.randrange(3_000))
        for _ in range(12):
            await house.rest(house.randomness.uniform(0.1, 40))
            victim = house.randomness.choice([*PROCESSES, "all"])
            for stage in PROCESSES if victim == "all" else (victim,):
                house.kill(stage)
            if house.randomness.random() < 0.3:
                house.broker.lose_disk()
        await house.until(lambda: books.is_done(house, *numbers), within_s=9_000)
        books.check_books(house)
        assert {books.purchase(house, number).state for number in numbers} <= {"settled", "held_unpaid"}

    for seed in (1, 2, 3):
        simulate(scenario, seed=seed)


@pytest.mark.parametrize("error", [StoreUnavailable("the database went away"), CommitUnknown("the answer was lost")])
def test_the_database_goes_away_at_any_transaction_and_nothing_is_paid_twice(error: StoreUnavailable) -> None:
    for point, nth in points_of("ok", "payment"):
        if ".tx:" not in point or (point.endswith("after") and not isinstance(error, CommitUnknown)):
            continue
        assert end_after("ok", "payment", point, nth, error) == PAID, f"{error} at {point} {nth}"


def test_a_commit_that_answers_with_an_error_means_that_nothing_is_sent() -> None:
    ends = end_after("ok", "payment", "IntentWriter.tx:after", 1, StoreUnavailable("stored, but nobody says so"))
    assert ends == ("held_unpaid", "not_sent", 0, ["2"])


@pytest.mark.parametrize("seconds", [6.0, 150.0, 4_000.0])
def test_a_worker_that_froze_between_intent_and_first_byte_sends_nothing(seconds: float) -> None:
    state, reason, pays, told = end_after("ok", "payment", "submit:before", 1, seconds, workers=2)
    assert (state, pays) == ("held_unpaid", 0)
    assert reason == ("not_sent" if seconds < 2_000 else "unpaid_after_deadline")
    assert told[-1] == "2"


@pytest.mark.parametrize(
    "point", ["login:before", "look:after", "open:after", "IntentWriter.tx:before", "submit:after"]
)
def test_a_worker_that_froze_beyond_its_lease_is_overtaken_and_does_no_harm(point: str) -> None:
    assert end_after("ok", "payment", point, 1, 300.0, workers=2) == PAID


def test_a_question_still_being_answered_when_no_payment_can_first_be_proven_is_put_again_at_once() -> None:
    final_s = HOLD_S + Settings().pay_grace_s

    async def scenario(house: House) -> None:
        await house.buy(SAMPLE, "timeout_unpaid")
        await house.rest(final_s - 1)
        house.plan = At("payment", "trade:before", act=5.0)
        moment = house.clock.now()
        house.write(lambda tx: tx.run(update(work).where(work.c.step == "ask").values(due_at=moment, wake_at=moment)))
        await house.until(lambda: books.is_done(house, SAMPLE))
        row = books.purchase(house, SAMPLE)
        assert row.reason == "unpaid_after_deadline"
        assert row.concluded_at < START + timedelta(seconds=final_s + 30)

    simulate(scenario)
