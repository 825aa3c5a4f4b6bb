"""Every point at which a process can die x every behaviour of the sandbox: paid at most once, nobody lost (see `crash_points`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.cli.simulation.incarnation import Incarnation
from pipeline.cli.simulation.trips import SAMPLE
from pipeline.cli.simulation.virtual_loop import run_virtual
from pipeline.intents import IntentWriter, Recorded
from pipeline.ports import PaymentForm, SubmitAnswer
from pipeline.railway.sandbox.inprocess import InProcessLine
from tests.simulation.crash_points import explore
from tests.simulation.crash_points_day import CrashHouse
from tests.simulation.crash_points_tally import Tally
from tests.simulation.test_behaviours import BEHAVIOURS

SENT = "payment submit:received #1"
WITHIN_S = 1800
FEWEST = 40  # kills of a behaviour; fewer would mean that the recording has gone blind


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    """A process of its own, because it forks at every point: a small one, without pytest's threads."""
    command = [sys.executable, "-m", "tests.simulation.crash_points", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [Tally.from_json(line) for line in done.stdout.splitlines()]
    points, kills = sum(tally.points for tally in found), sum(tally.kills[1] for tally in found)
    print(f"{points} points passed x {len(found)} behaviours, {kills} kills, {sum(t.died for t in found)} happened")
    return {tally.behaviour: tally for tally in found}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_process_dies_at_any_point_and_the_order_ends_as_it_must(tallies: dict[str, Tally], behaviour: str) -> None:
    tally = tallies[behaviour]
    assert not tally.failures
    assert tally.died == tally.kills[1] >= FEWEST, "a kill that did not happen proves nothing"


@pytest.mark.parametrize("behaviour", [name for name, ends in BEHAVIOURS.items() if "hold" in ends.posted])
def test_each_step_of_a_payment_is_among_the_points(tallies: dict[str, Tally], behaviour: str) -> None:
    wanted = {f"payment {step}" for step in ("IntentWriter.tx:after", "submit:received", "trade:received")}
    assert wanted - {"payment trade:received"} <= tallies[behaviour].names
    assert behaviour in ("refuse",) or wanted <= tallies[behaviour].names


def test_every_stage_and_the_relay_die(tallies: dict[str, Tally]) -> None:
    stages = {name.partition(" ")[0] for tally in tallies.values() for name in tally.names}
    assert stages == {"intake", "credentials", "payment", "settlement", "notification", "relay"}


def test_a_death_at_the_cashiers_door_leaves_only_questions() -> None:
    tally = explore("ok", script=(SENT,))
    assert (tally.failures, tally.died) == ([], 1)


def test_a_death_that_never_comes_is_found_out() -> None:
    failures = explore("ok", script=("payment submit:never #1",)).failures
    assert [words for _path, words in failures] == ["0 of 1 happened"]


def test_a_death_that_is_survived_is_found_out() -> None:
    with patch.object(Incarnation, "kill", lambda _life: None):
        assert explore("wrong_password", script=("intake take:after #1",)).failures


def twice(submit: Callable[..., Any]) -> Callable[..., Any]:
    """A cashier's client that sends the form again by itself."""

    async def submitted(line: InProcessLine, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        await submit(line, form, still_ours)
        line._used = False
        answer: SubmitAnswer = await submit(line, form, still_ours)
        return answer

    return submitted


@pytest.mark.parametrize("stage", ["intake", "relay"])
def test_a_recovery_is_over_when_the_stage_that_died_has_a_successor_and_nothing_left_to_do(stage: str) -> None:
    seen: list[bool] = []

    async def day() -> None:
        house = CrashHouse(2)
        house.start()
        house.add_agent()
        seen.append(house.has_recovered(stage))
        await house.buy(SAMPLE, "ok", deadline_s=house.hold_s)
        house.kill(stage)
        seen.append(house.has_recovered(stage))
        await house.rest(20.0)
        seen.append(house.has_recovered(stage))
        await house.stop()

    run_virtual(day)
    assert seen == [True, False, True]


def test_a_client_that_pays_twice_is_found_out() -> None:
    with patch.object(InProcessLine, "submit", twice(InProcessLine.submit)):
        ((_path, words),) = explore("ok", script=("settlement take:after #1",)).failures
    assert "2 pays of one hold" in words


def test_a_worker_that_sends_without_its_intent_is_found_out() -> None:
    async def recorded(writer: IntentWriter, _intent: object) -> Recorded:
        return Recorded(writer._clock.monotonic())

    with patch.object(IntentWriter, "record", recorded):
        ((_path, words),) = explore("ok", script=(SENT,)).failures
    assert "money was taken and the agent is told that it was not" in words
