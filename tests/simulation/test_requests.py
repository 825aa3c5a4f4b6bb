"""The requests table of DESIGN section 5, cell by cell, through the queue: purchases are brought into each state for real."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import AGENT, FARE_FEN, SAMPLE, order_paid
from pipeline.states import OrderState
from schemas.am_messages import AmEvent
from tests.simulation import books
from tests.simulation.asks import (
    ACCOUNT,
    bring,
    confirm,
    go_pay,
    need_pay,
    no_ticket,
    other_hold,
    refund_closed,
    refund_requested,
)

LIVE = ("accepted", "ready", "paying", "in_doubt")
BEFORE = ("accepted", "ready", "paying")
PAID = ("purchased", "settled")
OFFLINE, NO_TICKET, FAILED = OrderState.TICKETED_OFFLINE, OrderState.NO_TICKET, OrderState.PURCHASE_FAILED
PURCHASING, TICKETED = OrderState.PURCHASING, OrderState.TICKETED

Cell = tuple[Callable[[House, str], AmEvent], str, str, str | None, OrderState | None]
CELLS: list[Cell] = [
    *((ask, state, "accepted", None, None) for ask in (need_pay, go_pay) for state in ("none", "held_unpaid")),
    *((ask, state, "repeat", None, PURCHASING) for ask in (need_pay, go_pay) for state in LIVE),
    *((other_hold, state, "refused", "204", PURCHASING) for state in LIVE),
    *((ask, state, "refused", "008", TICKETED) for ask in (need_pay, other_hold, go_pay) for state in PAID),
    *((need_pay, state, "refused", "205", FAILED) for state in ("paid_abnormal", "never_debited")),
    *((confirm, state, "done", None, OFFLINE) for state in ("none", "held_unpaid", "never_debited", *BEFORE)),
    (confirm, "in_doubt", "done", None, PURCHASING),
    (confirm, "paid_abnormal", "done", None, FAILED),
    *((confirm, state, "done", None, TICKETED) for state in PAID),
    *((no_ticket, state, "done", None, NO_TICKET) for state in ("none", "held_unpaid", "never_debited", *BEFORE)),
    (no_ticket, "in_doubt", "refused", "206", PURCHASING),
    (no_ticket, "paid_abnormal", "refused", "206", FAILED),
    *((no_ticket, state, "refused", "206", TICKETED) for state in PAID),
    (refund_requested, "none", "done", None, OrderState.PAID),
    *((refund_requested, state, "done", None, FAILED) for state in (*BEFORE, "held_unpaid", "paid_abnormal")),
    (refund_requested, "in_doubt", "done", None, PURCHASING),
    *((refund_requested, state, "done", None, TICKETED) for state in PAID),
]


@pytest.mark.parametrize(
    ("ask", "state", "answer", "code", "order"), CELLS, ids=[f"{cell[0].__name__}-{cell[1]}" for cell in CELLS]
)
def test_each_cell_of_the_table(
    ask: Callable[[House, str], AmEvent], state: str, answer: str, code: str | None, order: OrderState | None
) -> None:
    async def scenario(house: House) -> None:
        hold = await bring(house, state)
        before = books.generations(house, SAMPLE)
        told_before = books.told(house, SAMPLE)
        request = ask(house, hold)
        await house.send(request)
        await house.rest(1.5)  # not the instant of a round of the relay's, which publishes the refusal
        assert books.answer_to(house, request.id) == answer
        assert books.refusals(house, SAMPLE) == ([] if code is None else [code])
        assert books.generations(house, SAMPLE) == before + (answer == "accepted")
        if order is not None:
            assert books.state_of(house, SAMPLE) is order
        await house.rest(90)  # whoever was frozen wakes up
        if state in BEFORE and answer == "done":
            row = books.purchase(house, SAMPLE)
            assert (row.state, row.reason) == ("held_unpaid", "withdrawn")
            assert not books.journal(house, "pay")
            # After the agent's own act there is nothing to tell and nothing to replay.
            assert books.told(house, SAMPLE) == (["2"] if ask is refund_requested else [])
            assert bool(books.letters(house, SAMPLE)) is (ask is refund_requested)
        elif answer != "accepted":
            assert books.told(house, SAMPLE)[: len(told_before)] == told_before
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize(
    ("close", "code"),
    [
        ("joint", "201"),
        ("offline", "203"),
        ("no_ticket", "203"),
        ("refunded", "203"),
        ("refund", "207"),
        ("agent", "102"),
    ],
)
def test_what_can_not_be_paid_is_refused_with_a_code_of_its_own(close: str, code: str) -> None:
    async def scenario(house: House) -> None:
        await house.send(house.event(order_paid(trip="joint" if close == "joint" else "single")))
        await house.rest(1)
        acts = {"offline": [confirm(house)], "no_ticket": [no_ticket(house)], "refund": [refund_requested(house)]}
        if close == "refunded":
            acts["refunded"] = [refund_requested(house), refund_closed(house, granted=True)]
        for event in acts.get(close, []):
            await house.send(event)
            await house.rest(1)
        request = house.need_pay(
            SAMPLE, "E999999999", ACCOUNT, "invented", agent="nobody" if close == "agent" else AGENT
        )
        await house.send(request)
        await house.rest(1)
        assert books.answer_to(house, request.id) == "refused"
        assert books.refusals(house, SAMPLE) == [code]
        assert books.generations(house, SAMPLE) == 0
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize("first", [confirm, no_ticket])
def test_on_a_closed_order_the_same_request_is_a_repeat_and_any_other_206(first: Callable[..., AmEvent]) -> None:
    async def scenario(house: House) -> None:
        await house.send(house.event(order_paid()), first(house))
        await house.rest(1)
        again = first(house)
        others = [make(house) for make in (confirm, no_ticket, refund_requested) if make is not first]
        await house.send(again, *others)
        await house.rest(1)
        assert books.answer_to(house, again.id) == "repeat"
        assert [books.answer_to(house, other.id) for other in others] == ["refused", "refused"]
        assert books.refusals(house, SAMPLE) == ["206", "206"]
        books.check_books(house)

    simulate(scenario)


def test_a_kept_confirm_is_applied_when_the_purchase_ends_unpaid_and_paid_out_after_departure() -> None:
    async def scenario(house: House) -> None:
        await bring(house, "in_doubt")
        await house.send(confirm(house))
        await house.rest(3_000)
        row = books.purchase(house, SAMPLE)
        assert (row.state, row.reason) == ("held_unpaid", "unpaid_after_deadline")
        assert books.state_of(house, SAMPLE) is OFFLINE
        assert books.told(house, SAMPLE) == ["3", "2"]  # what it was told at stop_at is taken back
        assert books.balances(house)["frozen"] == FARE_FEN
        await house.rest(12 * 86_400 - 3_600)
        assert books.kinds(house, SAMPLE) == ["freeze", "hold", "void"]
        await house.rest(3_600)
        assert books.posted(house, SAMPLE)[-1] == ("departure_unfreeze", {"frozen": -FARE_FEN, "available": FARE_FEN})
        books.check_books(house)

    simulate(scenario, long=True)


def test_a_kept_confirm_moves_nothing_when_the_purchase_was_paid() -> None:
    async def scenario(house: House) -> None:
        house.plan = lambda stage, point: 30.0 if (stage, point) == ("payment", "find:before") else None
        await house.buy(SAMPLE)
        await house.rest(3)
        await house.send(confirm(house), no_ticket(house))
        house.plan = lambda _stage, _point: None
        await house.until(lambda: books.is_done(house, SAMPLE))
        assert books.refusals(house, SAMPLE) == ["206"]
        assert books.kinds(house, SAMPLE) == ["freeze", "hold", "post", "unfreeze"]
        assert books.state_of(house, SAMPLE) is TICKETED
        books.check_books(house)

    simulate(scenario)


def test_held_again_after_an_unpaid_end_the_next_generation_pays_and_the_agent_hears_both() -> None:
    async def scenario(house: House) -> None:
        await house.buy(SAMPLE, "captcha")
        await house.until(lambda: books.is_done(house, SAMPLE))
        await house.buy(SAMPLE, account="second@example.com")
        await house.rest(1)
        await house.until(lambda: books.is_done(house, SAMPLE))
        assert books.purchase(house, SAMPLE, 2).state == "settled"
        assert books.told(house, SAMPLE) == ["2", "1"]
        assert books.letters(house, SAMPLE) == [("payment", "captcha_required", "superseded")]
        books.check_books(house)

    simulate(scenario)
