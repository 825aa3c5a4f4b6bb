"""An agent's keys are changed while it is being told: in virtual time, by all five stages, against an agent that checks signatures."""

from __future__ import annotations

from pipeline import operations_agents as operations
from pipeline.cli.simulation.am_side import KEY
from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import AGENT, SAMPLE
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.store.agent_keys import OVERLAP, KeyKind
from tests.simulation import books

NEW = "the agent's new key"
DAY_S = OVERLAP.total_seconds()


def checked(house: House, order_no: str) -> list[bool]:
    """Whether the signature of each callback about this order fitted the agent's key."""
    return [line["hmac_ok"] for line in books.journal(house, "callback") if line["order_no"] == order_no]


def test_for_a_day_the_agent_is_told_with_whichever_key_it_knows_and_then_with_the_new_one() -> None:
    async def told(house: House, order_no: str) -> list[bool]:
        await house.buy(order_no)
        await house.until(lambda: books.is_done(house, order_no), within_s=3_000)
        assert books.told(house, order_no)[-1] == "1"
        return checked(house, order_no)

    async def scenario(house: House) -> None:
        house.world.set_agent(AGENT, {"answer": "ok", "key": KEY})
        assert await told(house, SAMPLE) == [True]
        ring = house.service_keys.public
        house.store.write(
            lambda tx: operations.change_key(tx, AGENT, KeyKind.MERCHANT, Secret(NEW), ring, "human:ann", at_once=False)
        )
        assert await told(house, f"{SAMPLE}-2") == [False, True]  # it has not changed its program yet
        house.world.set_agent(AGENT, {"answer": "ok", "key": NEW})
        assert await told(house, f"{SAMPLE}-3") == [True]
        house.world.set_agent(AGENT, {"answer": "false", "times": 1})
        assert await told(house, f"{SAMPLE}-4") == [True, False, True]  # the turns cost a try at most
        house.world.set_agent(AGENT, {"answer": "ok", "key": KEY})
        await house.rest(DAY_S)
        await house.buy(f"{SAMPLE}-5")
        await house.until(lambda: len(checked(house, f"{SAMPLE}-5")) == 3, within_s=3_000)
        assert checked(house, f"{SAMPLE}-5") == [False] * 3  # the old key's day is over
        house.world.set_agent(AGENT, {"answer": "ok", "key": NEW})
        await house.until(lambda: books.is_done(house, f"{SAMPLE}-5"), within_s=100_000)
        books.check_books(house)

    simulate(scenario, long=True, settings=Settings(callback_schedule_s=(5.0, 60.0, 300.0, 1_800.0, 7_200.0)))
