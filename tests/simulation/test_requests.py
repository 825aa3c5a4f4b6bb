"""The requests table of DESIGN section 5, cell by cell, through the queue: purchases are brought into each state for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.ledger import void
from pipeline.reasons import Reason
from pipeline.states import OrderState, PurchaseState
from pipeline.store import attempts, control, ledger, orders
from schemas.am_messages import AmEvent, Confirmed, NoTicket, RefundArrived, RefundClosed, RefundRequested
from schemas.orders import Ticket
from tests.simulation import books
from tests.simulation.house import House, simulate
from tests.simulation.incarnation import Act
from tests.simulation.trips import AGENT, FARE_FEN, PRICE_FEN, SAMPLE, order_paid, ticket

ACCOUNT = f"{SAMPLE}@example.com"


def pause(house: House, scope: str, name: str) -> None:
    house.write(lambda tx: control.pause(tx, scope, name, "test", "operator", house.clock.now()))


def resume(house: House, scope: str, name: str) -> None:
    house.write(lambda tx: control.resume(tx, scope, name))


def freeze_at_look(stage: str, point: str) -> Act:
    return 60.0 if (stage, point) == ("payment", "look:before") else None


async def bring(house: House, state: str) -> str:
    """One order whose latest purchase is in this state; its hold number ("" where there is no purchase)."""
    if state == "none":
        await house.send(house.event(order_paid()))
        await house.rest(2)
        return ""
    behaviours = {
        "held_unpaid": "captcha",
        "in_doubt": "timeout_unpaid",
        "paid_abnormal": "takes_other_amount",
        "never_debited": "takes_other_amount",
    }
    if state in ("accepted", "ready", "purchased"):
        pause(house, "stage", {"accepted": "credentials", "ready": "payment", "purchased": "settlement"}[state])
    if state == "paying":
        house.plan = freeze_at_look
    hold = await house.buy(SAMPLE, behaviours.get(state, "ok"))
    await house.rest(3 if state == "paying" else 100)
    if state == "never_debited":
        house.write(never_debited)
    assert books.purchase(house, SAMPLE).state == state
    return hold


def never_debited(tx: Any) -> None:
    """What a person does who found that nothing was debited."""
    attempt = attempts.submitted(tx, [f"{SAMPLE}:1"])[f"{SAMPLE}:1"]
    states = (PurchaseState.PAID_ABNORMAL, PurchaseState.NEVER_DEBITED)
    assert orders.end(tx, attempt.purchase_id, *states, Reason.AMOUNT_DIFFERS, "核实未扣款", 0)
    attempts.conclude(tx, attempt.id, "person", 0, "")
    ledger.apply(tx, [void(AGENT, SAMPLE, attempt.id, attempt.amount_fen)])


def need_pay(house: House, hold: str) -> AmEvent:
    return house.need_pay(SAMPLE, hold or "E999999999", ACCOUNT, f"invented-{SAMPLE}")


def other_hold(house: House, _hold: str) -> AmEvent:
    return house.need_pay(SAMPLE, "E888888888", ACCOUNT, f"invented-{SAMPLE}")


def go_pay(house: House, _hold: str) -> AmEvent:
    return house.need_pay(SAMPLE, None, ACCOUNT, f"invented-{SAMPLE}", price_fen=None)


def confirm(house: House, _hold: str = "") -> AmEvent:
    return house.event(Confirmed(order_no=SAMPLE, agent=AGENT, tickets=(Ticket(**ticket("E777777777")),)))


def no_ticket(house: House, _hold: str = "") -> AmEvent:
    return house.event(NoTicket(order_no=SAMPLE, agent=AGENT, reason="1"))


def refund_requested(house: House, _hold: str = "") -> AmEvent:
    return house.event(RefundRequested(order_no=SAMPLE, agent=AGENT, requested_at=house.clock.now()))


def refund_closed(house: House, *, granted: bool) -> AmEvent:
    return house.event(RefundClosed(order_no=SAMPLE, agent=AGENT, granted=granted))


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
        await house.rest(1)
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
