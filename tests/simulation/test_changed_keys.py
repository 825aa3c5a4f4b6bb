"""An agent's keys are changed while it is being told: in virtual time, by all five stages, against an agent that checks signatures."""

from __future__ import annotations

from pipeline import operations_agents as operations
from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import AGENT, KEY, SAMPLE
from pipeline.secret import Secret
from pipeline.store.agent_keys import OVERLAP, KeyKind
from tests.simulation import books

NEW = "the agent's new key"


def test_for_a_day_the_tries_take_turns_with_both_keys_and_then_the_new_one_signs_alone() -> None:
    """The sandbox's agent says how each signature fitted, and answers as it was told all the same."""

    async def told(house: House, n: int, key: str, refusing: int = 0) -> list[bool]:
        answer = {"answer": "false", "times": refusing} if refusing else {"answer": "ok"}
        house.world.set_agent(AGENT, {**answer, "key": key})
        order_no = f"{SAMPLE}-{n}"
        await house.buy(order_no)
        await house.until(lambda: books.is_done(house, order_no), within_s=30_000)
        assert books.told(house, order_no) == ["1"]
        return [line["hmac_ok"] for line in books.journal(house, "callback", order_no=order_no)]

    async def scenario(house: House) -> None:
        assert await told(house, 1, KEY) == [True]
        ring = house.service_keys.public
        house.write(
            lambda tx: operations.change_key(tx, AGENT, KeyKind.MERCHANT, Secret(NEW), ring, "human:ann", at_once=False)
        )
        assert await told(house, 2, KEY, refusing=1) == [False, True]  # it has not changed its program yet
        assert await told(house, 3, NEW) == [True]
        assert await told(house, 4, NEW, refusing=2) == [True, False, True]
        await house.rest(OVERLAP.total_seconds())
        assert await told(house, 5, NEW, refusing=1) == [True, True]
        assert await told(house, 6, KEY, refusing=1) == [False, False]  # the old key's day is over
        assert {len(books.journal(house, "pay")), len(books.journal(house, "debit"))} == {6}

    simulate(scenario, long=True)
