"""CONFIRM, NO_TICKET and refunds: what they close, what they withdraw, what is kept, and what each leaves of the money."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.settlement import Settlement
from pipeline.requests import ErrCode
from pipeline.states import Closure, PurchaseState
from pipeline.store import ledger
from pipeline.store.work import Step
from tests.unit.message_samples import ORDER_NO, TICKET
from tests.unit.order_world import FARE, FEN, World, order_world

S = PurchaseState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The order is paid; no purchase yet."""
    with order_world(tmp_path) as made:
        made.hear("order.paid")
        yield made


@pytest.fixture
def live(world: World) -> World:
    world.hear("purchase.need_pay")
    return world


def requested_and(world: World, *, granted: bool) -> None:
    world.hear("refund.requested", requested_at=world.clock.now().isoformat())
    world.clock.move(1)
    world.hear("refund.closed", granted=granted)


@pytest.mark.parametrize("kind", ["purchase.confirmed", "purchase.no_ticket", "refund.requested", "refund.arrived"])
def test_an_unknown_order_is_refused(world: World, kind: str) -> None:
    answer = world.hear(kind, order_no="unknown1")
    assert (answer.result, answer.err_code) == ("refused", ErrCode.UNKNOWN_ORDER)


# -- CONFIRM ----------------------------------------------------------------------------------------------------------


def test_a_confirm_closes_the_order_and_unfreezes_after_departure(world: World) -> None:
    assert world.hear("purchase.confirmed").result == "done"
    order = world.order()
    assert (order.closure, [ticket["ticket_no"] for ticket in order.tickets]) == ("ticketed_offline", ["E646076788"])
    assert world.work() == [(0, Step.DEPARTURE)]
    assert world.balances() == {"frozen": FARE}
    assert world.hear("purchase.confirmed").result == "repeat"
    assert world.hear("purchase.no_ticket").err_code == ErrCode.NOT_IN_THIS_STATE


@pytest.mark.parametrize("state", [S.ACCEPTED, S.READY, S.PAYING])
def test_a_confirm_withdraws_what_has_no_intent(live: World, state: S) -> None:
    live.to(state)
    assert live.hear("purchase.confirmed").result == "done"
    assert (live.purchase().state, live.purchase().reason) == (S.HELD_UNPAID, "withdrawn")
    assert live.order().closure == Closure.TICKETED_OFFLINE
    assert live.work() == [(0, Step.DEPARTURE)]
    assert (live.callbacks(), live.dead_letters()) == ([], []), "the agent's own act is not told to it"
    assert live.rows("attempts", "end_detail") == ([("withdrawn",)] if state is S.PAYING else [])


def test_a_confirm_after_an_unpaid_end_stops_telling_of_it(live: World) -> None:
    live.to(S.HELD_UNPAID)
    live.hear("purchase.confirmed")
    assert live.callbacks() == [(1, "2", "cancelled")]


@pytest.mark.parametrize("state", [S.IN_DOUBT, S.PAID_ABNORMAL])
def test_a_confirm_of_what_was_submitted_is_kept_and_moves_nothing(live: World, state: S) -> None:
    live.to(state)
    assert live.hear("purchase.confirmed").result == "done"
    assert (live.order().closure, live.purchase().state) == (None, state)
    assert live.order().kept_confirm["account"] == "agent_user01"


def test_a_confirm_right_after_the_intent_is_kept(live: World) -> None:
    live.to(S.PAYING)
    live.submit()
    assert live.hear("purchase.confirmed").result == "done"
    assert (live.order().closure, live.purchase().state) == (None, S.PAYING)


def test_a_kept_confirm_happens_when_the_payment_is_proven_not_made(live: World) -> None:
    live.to(S.IN_DOUBT)
    live.hear("purchase.confirmed")
    assert live.conclude_unpaid()
    order = live.order()
    assert (order.closure, order.kept_confirm, len(order.tickets)) == ("ticketed_offline", None, 1)
    assert live.work() == [(0, Step.DEPARTURE), (0, Step.TELL)]
    assert live.hear("purchase.need_pay").err_code == ErrCode.CLOSED


def test_a_kept_confirm_does_not_hinder_the_purchase(live: World) -> None:
    live.to(S.IN_DOUBT)
    live.hear("purchase.confirmed")
    live.conclude_paid()
    assert (live.order().closure, live.purchase().state) == (None, S.PURCHASED)


@pytest.mark.parametrize("state", [S.PURCHASED, S.SETTLED])
def test_a_confirm_of_what_we_bought_stores_tickets_and_moves_no_money(live: World, state: S) -> None:
    live.to(state)
    before = live.rows("ledger_postings")
    assert live.hear("purchase.confirmed").result == "done"
    assert live.order().closure is None
    assert live.order().tickets[0]["seat_no"] == TICKET["seat_no"]
    assert live.rows("ledger_postings") == before


def test_a_confirm_after_never_debited_closes_like_one_after_unpaid(live: World) -> None:
    live.to(S.NEVER_DEBITED)
    assert live.hear("purchase.confirmed").result == "done"
    assert live.order().closure == Closure.TICKETED_OFFLINE


# -- NO_TICKET --------------------------------------------------------------------------------------------------------


def test_no_ticket_gives_the_user_all_back(world: World) -> None:
    assert world.hear("purchase.no_ticket").result == "done"
    assert world.order().closure == Closure.NO_TICKET
    assert world.balances() == {}
    assert world.rows("ledger_postings", "kind", "order_no IS NOT NULL") == [("freeze",), ("full_refund",)]
    assert world.hear("purchase.no_ticket").result == "repeat"
    assert world.hear("purchase.confirmed").err_code == ErrCode.NOT_IN_THIS_STATE


@pytest.mark.parametrize("state", [S.ACCEPTED, S.READY, S.PAYING])
def test_no_ticket_withdraws_what_has_no_intent(live: World, state: S) -> None:
    live.to(state)
    assert live.hear("purchase.no_ticket").result == "done"
    assert (live.purchase().state, live.purchase().reason) == (S.HELD_UNPAID, "withdrawn")
    assert (live.work(), live.callbacks(), live.dead_letters(), live.balances()) == ([], [], [], {})


@pytest.mark.parametrize("state", [S.IN_DOUBT, S.PAID_ABNORMAL, S.PURCHASED, S.SETTLED])
def test_no_ticket_is_refused_from_the_intent_on(live: World, state: S) -> None:
    live.to(state)
    answer = live.hear("purchase.no_ticket")
    assert (answer.result, answer.err_code) == ("refused", ErrCode.NOT_IN_THIS_STATE)
    assert live.order().closure is None


# -- refunds that the user asks for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.ACCEPTED, S.READY, S.PAYING])
def test_a_refund_request_withdraws_what_has_no_intent_and_the_agent_is_told(live: World, state: S) -> None:
    live.to(state)
    assert live.hear("refund.requested").result == "done"
    assert (live.purchase().state, live.purchase().reason) == (S.HELD_UNPAID, "withdrawn")
    assert live.callbacks() == [(1, "2", "pending")]
    assert live.order().closure is None
    assert live.hear("purchase.need_pay").err_code == ErrCode.REFUND_REQUESTED


def test_a_refund_request_before_any_purchase_blocks_paying(world: World) -> None:
    world.hear("refund.requested")
    assert world.hear("refund.requested").result == "repeat"
    assert world.hear("purchase.need_pay").err_code == ErrCode.REFUND_REQUESTED


def test_a_granted_refund_gives_back_what_is_frozen(world: World) -> None:
    requested_and(world, granted=True)
    assert (world.order().closure, world.balances()) == ("refunded", {})
    assert world.hear("purchase.need_pay").err_code == ErrCode.CLOSED


def test_a_refund_that_was_not_granted_opens_the_order_again(world: World) -> None:
    requested_and(world, granted=False)
    assert (world.order().closure, world.balances()) == (None, {"frozen": FARE})
    assert world.hear("purchase.need_pay").result == "accepted"


def test_a_second_refund_request_is_a_new_one(world: World) -> None:
    requested_and(world, granted=False)
    world.clock.move(60)
    requested_and(world, granted=True)
    assert world.order().closure == Closure.REFUNDED


def test_a_granted_refund_waits_for_what_was_submitted(live: World) -> None:
    live.to(S.IN_DOUBT)
    requested_and(live, granted=True)
    assert (live.order().closure, live.order().frozen_fen) == (None, FARE)
    live.conclude_unpaid()
    assert (live.order().closure, live.balances()) == ("refunded", {})


def test_a_refund_request_that_is_still_open_at_the_end_blocks_importing_again(live: World) -> None:
    live.to(S.IN_DOUBT)
    live.hear("refund.requested")
    live.conclude_unpaid()
    assert live.order().closure is None
    assert live.hear("purchase.need_pay").err_code == ErrCode.REFUND_REQUESTED


@pytest.mark.parametrize("state", [S.PURCHASED, S.SETTLED])
def test_a_granted_refund_of_what_we_bought_leaves_the_settlement_alone(live: World, state: S) -> None:
    live.to(state)
    requested_and(live, granted=True)
    assert (live.order().closure, live.purchase().state) == (None, state)


def test_a_closing_that_overtakes_its_request_has_the_same_effect(live: World) -> None:
    asked = live.clock.now()
    live.clock.move(5)
    assert live.hear("refund.closed", granted=True).result == "done"
    assert (live.purchase().reason, live.order().closure, live.balances()) == ("withdrawn", "refunded", {})
    assert live.hear("refund.requested", requested_at=asked.isoformat()).result == "repeat"


def test_a_refusal_that_overtakes_its_request_does_not_block_the_order(world: World) -> None:
    asked = world.clock.now()
    world.clock.move(5)
    world.hear("refund.closed", granted=False)
    assert world.hear("refund.requested", requested_at=asked.isoformat()).result == "repeat"
    assert world.hear("purchase.need_pay").result == "accepted"


def test_a_closing_told_twice_closes_once(world: World) -> None:
    asked = world.clock.now()
    world.hear("refund.requested", requested_at=asked.isoformat())
    world.hear("refund.closed", granted=False, at=asked + timedelta(seconds=1))
    assert world.hear("refund.closed", granted=True, at=asked + timedelta(seconds=1)).result == "repeat"
    assert world.order().closure is None


# -- refunds that 12306 makes -----------------------------------------------------------------------------------------


def settle(world: World) -> None:
    """What settlement does with the money."""
    world.store.write(lambda tx: Settlement().transact(tx, [f"{ORDER_NO}:1:settle"]))


def test_a_railway_refund_after_the_post_is_the_agents(live: World) -> None:
    live.to(S.PURCHASED)
    settle(live)
    assert live.hear("refund.arrived", refund_id="r1", amount_fen=41_300).result == "done"
    assert live.balances() == {"available": FEN, "refund": 41_300}
    assert live.hear("refund.arrived", refund_id="r1", amount_fen=41_300).result == "repeat"
    assert live.balances()["refund"] == 41_300
    assert live.tasks() == []


@pytest.mark.parametrize("state", [S.IN_DOUBT, S.PURCHASED])
def test_a_railway_refund_before_the_post_is_booked_at_the_post(live: World, state: S) -> None:
    live.to(state)
    live.hear("refund.arrived", refund_id="r1", amount_fen=41_300)
    assert live.balances() == {"frozen": FARE, "in_flight": FEN}
    assert live.tasks() == []
    if state is S.IN_DOUBT:
        live.conclude_paid()
    settle(live)
    assert live.balances() == {"available": FEN, "refund": 41_300}


def test_railway_refunds_never_exceed_what_was_posted(live: World) -> None:
    live.to(S.PURCHASED)
    settle(live)
    live.hear("refund.arrived", refund_id="r1", amount_fen=FEN - 100)
    live.hear("refund.arrived", refund_id="r2", amount_fen=101)
    assert live.balances()["refund"] == FEN - 100
    assert live.tasks() == ["railway_refund"]
    live.hear("refund.arrived", refund_id="r3", amount_fen=100)
    assert live.balances()["refund"] == FEN


def test_a_railway_refund_for_what_was_never_posted_is_a_task(world: World) -> None:
    world.hear("refund.arrived", refund_id="r1", amount_fen=41_300)
    assert (world.tasks(), world.balances()) == (["railway_refund"], {"frozen": FARE})


def test_a_railway_refund_that_waited_for_a_payment_that_was_none_is_a_task(live: World) -> None:
    live.to(S.IN_DOUBT)
    live.hear("refund.arrived", refund_id="r1", amount_fen=41_300)
    assert live.tasks() == []
    live.conclude_unpaid()
    assert live.tasks() == ["railway_refund"]
    assert live.store.read(ledger.in_flight_fen) == 0
