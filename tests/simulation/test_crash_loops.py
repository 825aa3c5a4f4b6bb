"""One item that kills its worker every time becomes a dead letter after the third death; what died with it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from consumers import credentials, intake, settlement
from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.incarnation import DIE, Act, ProcessDied
from pipeline.cli.simulation.trips import SAMPLE
from pipeline.store import control
from tests.simulation import books

NUMBERS = [f"{SAMPLE}-{n}" for n in range(7)]
POISON = NUMBERS[3]
OTHERS = [number for number in NUMBERS if number != POISON]


@contextmanager
def deadly(module: Any, name: str) -> Iterator[None]:
    """This function of a stage kills the process when it meets the poisonous order."""
    real = getattr(module, name)

    def kills(*args: Any, **options: Any) -> Any:
        if POISON in str(args):
            raise ProcessDied(name)
        return real(*args, **options)

    with patch.object(module, name, kills):
        yield


async def buy_all(house: House) -> None:
    for number in NUMBERS:
        await house.buy(number)


def test_a_body_that_kills_intake_is_set_aside_and_the_others_are_paid() -> None:
    async def scenario(house: House) -> None:
        with deadly(intake, "parse"):
            await buy_all(house)
            await house.until(lambda: books.is_done(house, *OTHERS), within_s=300)
            await house.rest(30)
        assert {books.purchase(house, number).state for number in OTHERS} == {"settled"}
        # Its order.paid and its need_pay are two bodies.
        assert [(letter.stage, letter.reason) for letter in house.letters] == [("intake", "crash_loop")] * 2
        assert all(letter.body_sealed and letter.digest for letter in house.letters)
        assert len([life for life in house.dead if life.stage == "intake"]) <= 6
        assert not house.broker.queues["daifu.intake"]
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize(
    ("stage", "module", "name"),
    [("credentials", credentials, "_find"), ("settlement", settlement, "post")],
)
def test_a_row_that_kills_a_stage_is_set_aside_and_the_others_go_on(stage: str, module: Any, name: str) -> None:
    async def scenario(house: House) -> None:
        house.write(lambda tx: control.pause(tx, "stage", stage, "test", "operator", house.clock.now()))
        await buy_all(house)
        await house.rest(30)
        house.write(lambda tx: control.resume(tx, "stage", stage))
        house.write(lambda tx: control.wake_stage(tx, stage))
        with deadly(module, name):
            await house.until(lambda: books.is_done(house, *OTHERS), within_s=600)
            await house.until(lambda: bool(books.letters(house, POISON)), within_s=600)
        assert {books.purchase(house, number).state for number in OTHERS} == {"settled"}
        assert books.letters(house, POISON) == [(stage, "crash_loop", "open")]
        assert 3 <= len(house.dead) <= 6
        await house.rest(1_300)
        row = books.purchase(house, POISON)
        ends = {"credentials": ("held_unpaid", "crash_loop"), "settlement": ("purchased", None)}
        assert (row.state, row.reason) == ends[stage]
        assert books.told(house, POISON) == (["2"] if stage == "credentials" else ["1"])

    simulate(scenario)


@pytest.mark.parametrize("stage", ["credentials", "settlement"])
def test_rows_that_wait_under_a_pause_after_a_death_are_no_crash_loop(stage: str) -> None:
    async def scenario(house: House) -> None:
        house.write(lambda tx: control.pause(tx, "stage", stage, "test", "operator", house.clock.now()))
        await buy_all(house)
        await house.rest(2)
        house.kill(stage)
        await house.rest(600)  # the relay wakes them again and again
        assert not house.letters
        house.write(lambda tx: control.resume(tx, "stage", stage))
        await house.until(lambda: books.is_done(house, *NUMBERS), within_s=300)
        assert {books.purchase(house, number).state for number in NUMBERS} == {"settled"}
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize("point", ["login:before", "login:after"])
def test_a_purchase_that_kills_the_payment_worker_is_set_aside_and_the_others_are_paid(point: str) -> None:
    async def scenario(house: House) -> None:
        def plan(stage: str, where: str) -> Act:
            deadly_now = (stage, where) == ("payment", point) and house.process("payment").subject.startswith(POISON)
            return DIE if deadly_now else None

        house.plan = plan
        await buy_all(house)
        await house.until(lambda: books.is_done(house, *OTHERS), within_s=1_000)
        await house.until(lambda: books.is_done(house, POISON), within_s=2_000)
        assert {books.purchase(house, number).state for number in OTHERS} == {"settled"}
        row = books.purchase(house, POISON)
        assert (row.state, row.reason) == ("held_unpaid", "crash_loop")
        assert books.letters(house, POISON) == [("payment", "crash_loop", "open")]
        assert books.told(house, POISON) == ["2"]
        assert len(house.dead) <= 6
        books.check_books(house)

    simulate(scenario)


def test_a_callback_that_kills_the_notification_worker_is_set_aside_and_the_others_are_told() -> None:
    async def scenario(house: House) -> None:
        def plan(stage: str, point: str) -> Act:
            deadly_now = (stage, point) == ("notification", "callback:before")
            return DIE if deadly_now and POISON in house.process("notification").subject else None

        house.plan = plan
        await buy_all(house)
        await house.until(lambda: books.is_done(house, *OTHERS), within_s=1_000)
        await house.until(lambda: books.is_done(house, POISON), within_s=1_000)
        assert all(set(books.told(house, number)) == {"1"} for number in OTHERS)
        assert books.letters(house, POISON) == [("notification", "crash_loop", "open")]
        assert books.purchase(house, POISON).state == "settled"
        books.check_books(house)

    simulate(scenario)
