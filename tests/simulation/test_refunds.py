"""The user wants its money back: before the purchase, during it and after it."""

from __future__ import annotations

import pytest

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import AGENT, PRICE_FEN, SAMPLE
from pipeline.states import OrderState
from schemas.am_messages import AmEvent, RefundArrived
from tests.simulation import books
from tests.simulation.asks import bring, need_pay, refund_closed, refund_requested, resume


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("state", ["none", "held_unpaid", "ready", "settled"])
def test_a_refund_request_is_granted_from_what_is_still_frozen_or_the_order_is_open_again(
    state: str,
    granted: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async def scenario(house: House) -> None:
        await bring(house, state)
        await house.send(refund_requested(house))
        await house.rest(1)
        await house.send(refund_closed(house, granted=granted))
        await house.rest(1)
        resume(house, "stage", "payment")
        kinds = books.kinds(house, SAMPLE)
        assert ("full_refund" in kinds) is (granted and state != "settled")
        request = need_pay(house, "")
        await house.send(request)
        await house.rest(1)
        if state == "settled":
            assert books.refusals(house, SAMPLE) == ["008"]
        elif granted:
            assert books.state_of(house, SAMPLE) is OrderState.REFUNDED
            assert books.refusals(house, SAMPLE) == ["203"]
        else:
            assert books.answer_to(house, request.id) == "accepted"
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize("behaviour", ["timeout_unpaid", "late_pay"])
def test_a_refund_granted_in_doubt_waits_for_the_outcome(behaviour: str) -> None:
    async def scenario(house: House) -> None:
        house.plan = lambda stage, point: 30.0 if (stage, point) == ("payment", "find:before") else None
        await house.buy(SAMPLE, behaviour)
        await house.rest(5)
        await house.send(refund_requested(house))
        await house.rest(1)
        await house.send(refund_closed(house, granted=True))
        await house.rest(1)
        assert books.kinds(house, SAMPLE) == ["freeze", "hold"]
        house.plan = lambda _stage, _point: None
        await house.until(lambda: books.is_done(house, SAMPLE))
        if behaviour == "late_pay":
            assert books.kinds(house, SAMPLE) == ["freeze", "hold", "post", "unfreeze"]
        else:
            assert books.kinds(house, SAMPLE) == ["freeze", "hold", "void", "full_refund"]
            assert books.state_of(house, SAMPLE) is OrderState.REFUNDED
        books.check_books(house)

    simulate(scenario)


def arrived(house: House, refund_id: str, fen: int) -> AmEvent:
    return house.event(RefundArrived(order_no=SAMPLE, agent=AGENT, refund_id=refund_id, amount_fen=fen))


def test_a_railway_refund_before_the_post_is_kept_until_it_and_never_exceeds_it() -> None:
    async def scenario(house: House) -> None:
        await bring(house, "purchased")
        await house.send(arrived(house, "r1", 40_000))
        await house.rest(1)
        assert books.balances(house)["refund"] == 0
        resume(house, "stage", "settlement")
        await house.until(lambda: books.is_done(house, SAMPLE))
        assert books.balances(house)["refund"] == 40_000
        await house.send(arrived(house, "r2", PRICE_FEN - 40_000), arrived(house, "r3", 1))
        await house.rest(1)
        assert books.balances(house)["refund"] == PRICE_FEN
        assert books.open_tasks(house, SAMPLE) == ["railway_refund"]
        books.check_books(house)

    simulate(scenario)
