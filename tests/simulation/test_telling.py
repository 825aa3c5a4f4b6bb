"""Telling the agent: on the schedule, only the latest, once it was taken never again."""

from __future__ import annotations

from datetime import datetime

import pytest

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.incarnation import Act
from pipeline.cli.simulation.trips import AGENT, SAMPLE
from pipeline.settings import STANDARD_WEBHOOKS_S, Settings
from tests.simulation import books


def moments(house: House) -> list[float]:
    """When the agent's address was called, in seconds since the first call."""
    found = [datetime.fromisoformat(line["time"]).timestamp() for line in books.journal(house, "callback")]
    return [moment - found[0] for moment in found]


@pytest.mark.parametrize("answer", ["false", "500", "timeout", "reset"])
def test_an_agent_that_does_not_take_it_is_asked_again_on_the_schedule(answer: str) -> None:
    async def scenario(house: House) -> None:
        house.world.set_agent(AGENT, {"answer": answer, "times": 3})
        await house.buy(SAMPLE)
        await house.until(lambda: books.is_done(house, SAMPLE), within_s=3_000)
        assert books.told(house, SAMPLE) == ["1"]
        found = moments(house)
        assert len(found) == 4
        for begin, end, delay_s in zip(found, found[1:], STANDARD_WEBHOOKS_S, strict=False):
            assert 0.8 * delay_s <= end - begin <= 1.2 * delay_s + 15
        lines = books.journal(house, "callback")
        assert len({line["webhook_id"] for line in lines}) == 1
        assert not books.letters(house, SAMPLE)
        books.check_books(house)

    simulate(scenario)


def test_an_agent_that_never_takes_it_becomes_a_dead_letter_at_the_end_of_the_schedule() -> None:
    schedule_s = (5.0, 300.0, 1_800.0, 7_200.0)

    async def scenario(house: House) -> None:
        house.world.set_agent(AGENT, {"answer": "500"})
        await house.buy(SAMPLE)
        await house.until(lambda: books.is_done(house, SAMPLE), within_s=400_000)
        assert len(books.journal(house, "callback")) == 1 + len(schedule_s)
        assert 0.8 * sum(schedule_s) <= moments(house)[-1] <= 1.2 * sum(schedule_s) + 600
        assert books.letters(house, SAMPLE) == [("notification", "callback_exhausted", "open")]
        assert books.purchase(house, SAMPLE).state == "settled"
        await house.rest(86_400)
        assert len(books.journal(house, "callback")) == 1 + len(schedule_s)
        books.check_books(house)

    simulate(scenario, long=True, settings=Settings(callback_schedule_s=schedule_s))


def test_a_worker_that_lost_its_row_during_the_last_call_leaves_the_dead_letter_to_whoever_has_it_now() -> None:
    passed = 0

    def freeze_at_the_last_call(stage: str, point: str) -> Act:
        nonlocal passed
        if (stage, point) != ("notification", "callback:before"):
            return None
        passed += 1
        return 500.0 if passed == 2 else None

    async def scenario(house: House) -> None:
        house.plan = freeze_at_the_last_call
        house.world.set_agent(AGENT, {"answer": "500"})
        await house.buy(SAMPLE)
        await house.until(lambda: books.is_done(house, SAMPLE), within_s=3_000)
        assert passed > 2
        assert books.letters(house, SAMPLE) == [("notification", "callback_exhausted", "open")]
        books.check_books(house)

    simulate(scenario, settings=Settings(callback_schedule_s=(5.0,)))


def test_an_agent_that_takes_an_old_word_late_is_told_the_latest_once_more() -> None:
    """The worker that was to tell the provisional 3 stands still until another one has told it, and then 1."""

    async def scenario(house: House) -> None:
        def strike(stage: str, point: str) -> Act:
            if (stage, point) == ("payment", "submit:after"):
                house.world.set_outage({"railway": True, "cashier": True, "mode": "refuse", "for_s": 1_300})
            if (stage, point) == ("notification", "callback:before"):
                house.plan = lambda _stage, _point: None
                return 2_000.0
            return None

        house.plan = strike
        await house.buy(SAMPLE, "timeout_paid")
        await house.rest(3_600)
        assert books.told(house, SAMPLE) == ["3", "1", "3", "1"]
        assert books.is_done(house, SAMPLE)
        books.check_books(house)

    simulate(scenario, workers=2)


def test_what_an_earlier_generation_had_to_tell_is_cancelled_when_a_new_one_is_accepted() -> None:
    async def scenario(house: House) -> None:
        house.world.set_agent(AGENT, {"answer": "500"})
        await house.buy(SAMPLE, "captcha")
        await house.rest(60)
        refused = len(books.journal(house, "callback", pay_status="2"))
        assert refused == 2
        await house.buy(SAMPLE, account="second@example.com")
        house.world.set_agent(AGENT, {"answer": "ok"})
        await house.rest(1)
        await house.until(lambda: books.is_done(house, SAMPLE))
        await house.rest(4_000)
        assert books.told(house, SAMPLE) == ["1"]
        assert len(books.journal(house, "callback", pay_status="2")) == refused
        books.check_books(house)

    simulate(scenario)


def test_only_the_latest_outcome_is_ever_sent() -> None:
    async def scenario(house: House) -> None:
        house.world.set_agent(AGENT, {"answer": "false"})
        await house.buy(SAMPLE, "timeout_unpaid")
        await house.rest(2_500)  # 3 at stop_at, 2 after the hold's deadline and grace
        house.world.set_agent(AGENT, {"answer": "ok"})
        await house.until(lambda: books.is_done(house, SAMPLE))
        statuses = [line["pay_status"] for line in books.journal(house, "callback")]
        assert statuses == sorted(statuses, reverse=True)
        assert {"3", "2"} == set(statuses)
        assert books.told(house, SAMPLE) == ["2"]
        books.check_books(house)

    simulate(scenario)


def test_an_outcome_that_comes_during_a_call_waits_for_its_end() -> None:
    async def scenario(house: House) -> None:
        house.world.set_agent(AGENT, {"answer": "timeout", "times": 1})
        await house.buy(SAMPLE, "timeout_unpaid", deadline_s=1_202)
        await house.until(lambda: books.is_done(house, SAMPLE))
        lines = books.journal(house, "callback")
        assert [line["pay_status"] for line in lines] == ["3", "2"]
        assert 10.0 <= moments(house)[1] < 12.0
        assert books.told(house, SAMPLE) == ["2"]
        books.check_books(house)

    simulate(scenario, settings=Settings(pay_margin_s=2, pay_grace_s=1))


def test_an_agent_that_is_slow_holds_up_nobody_else() -> None:
    async def scenario(house: House) -> None:
        house.add_agent("slow")
        house.world.set_agent("slow", {"answer": "timeout"})
        numbers = [f"{SAMPLE}-{n}" for n in range(5)]
        for number in numbers:
            await house.buy(number, order={"agent": "slow"}, request={"agent": "slow"})
        await house.buy(SAMPLE)
        await house.rest(5)
        assert books.told(house, SAMPLE) == ["1"]
        assert not any(books.told(house, number) for number in numbers)
        books.check_books(house)

    simulate(scenario)
