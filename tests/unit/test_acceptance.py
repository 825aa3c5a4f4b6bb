"""order.paid and need_pay: orders become known, requests become purchases, each once, whatever arrives in which order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import acceptance
from pipeline.acceptance import Conflict
from pipeline.requests import ErrCode
from pipeline.states import Closure, PurchaseState
from pipeline.store import work
from pipeline.store.work import Step
from tests.unit.message_samples import ORDER, ORDER_NO, SEALED, TICKET
from tests.unit.order_world import FARE, HOLD, LIMITS, World, order_world

S = PurchaseState


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with order_world(tmp_path) as made:
        yield made


@pytest.fixture
def paid(world: World) -> World:
    """The order is known."""
    assert world.hear("order.paid").result == "done"
    return world


def test_a_paid_order_freezes_its_fare_without_the_insurance(paid: World) -> None:
    order = paid.order()
    assert (order.fare_fen, order.frozen_fen, order.generation, order.state) == (FARE, FARE, 0, None)
    assert paid.balances() == {"frozen": FARE}


def test_a_paid_order_told_again_under_another_id_is_a_repeat(paid: World) -> None:
    assert paid.hear("order.paid").result == "repeat"
    assert paid.balances() == {"frozen": FARE}


def test_a_paid_order_that_differs_from_the_known_one_names_the_field(paid: World) -> None:
    with pytest.raises(Conflict, match=r"data\.fare_fen"):
        paid.hear("order.paid", fare_fen=FARE + 1)
    with pytest.raises(Conflict, match=r"data\.passengers"):
        paid.hear("order.paid", passengers=[{**ORDER["passengers"][0], "name": "李四"}])
    assert paid.balances() == {"frozen": FARE}


def test_an_order_of_a_free_ride_freezes_nothing(world: World) -> None:
    assert world.hear("order.paid", fare_fen=0).result == "done"
    assert world.balances() == {}


def test_an_unknown_agent_is_named(world: World) -> None:
    with pytest.raises(Conflict, match=r"data\.agent"):
        world.hear("order.paid", agent="nobody")


def test_a_known_id_is_a_repeat_and_opens_nothing(paid: World) -> None:
    first = paid.hear("purchase.need_pay", message_id="r1")
    assert (first.result, first.generation) == ("accepted", 1)
    paid.to(S.HELD_UNPAID)
    again = paid.hear("purchase.need_pay", message_id="r1")
    assert (again.result, again.generation) == ("repeat", 1), "though the order could be imported again"
    assert paid.order().generation == 1


def test_a_known_id_with_other_content_is_a_conflict(paid: World) -> None:
    paid.hear("purchase.need_pay", message_id="r1")
    with pytest.raises(Conflict, match="id: "):
        paid.hear("purchase.need_pay", message_id="r1", price_fen=1)


def test_the_same_password_sealed_anew_is_the_same_content(paid: World) -> None:
    paid.hear("purchase.need_pay", message_id="r1")
    assert paid.hear("purchase.need_pay", message_id="r1", password_sealed=SEALED[:-4] + "BBBB").result == "repeat"


def test_an_accepted_request_is_a_purchase_at_credentials(paid: World) -> None:
    assert paid.hear("purchase.need_pay").result == "accepted"
    purchase = paid.purchase()
    assert (purchase.state, purchase.generation, purchase.login) == (S.ACCEPTED, 1, "agent_user01")
    assert (purchase.held_order_no, purchase.stated_fen, purchase.password_sealed) == (HOLD, 124_100, SEALED)
    assert paid.work() == [(1, Step.CREDENTIALS)]
    assert paid.results() == [(f"{ORDER_NO}:1:purchase.accepted", "purchase.accepted", 1)]


def test_the_time_to_submit_runs_from_when_the_agent_asked(paid: World) -> None:
    asked = paid.clock.now() - timedelta(minutes=7)
    paid.hear("purchase.need_pay", at=asked)
    assert paid.purchase().stop_at == asked + timedelta(seconds=LIMITS.submit_within_s)


def test_a_request_from_the_future_runs_from_its_acceptance(paid: World) -> None:
    paid.hear("purchase.need_pay", at=paid.clock.now() + timedelta(hours=1))
    assert paid.purchase().stop_at <= paid.clock.now() + timedelta(seconds=LIMITS.submit_within_s)


def test_a_live_purchase_is_not_started_twice(paid: World) -> None:
    paid.hear("purchase.need_pay")
    again = paid.hear("purchase.need_pay")
    assert (again.result, again.generation) == ("repeat", 1)
    other = paid.hear("purchase.need_pay", held_order_no="E000000001", tickets=[])
    assert (other.result, other.err_code) == ("refused", ErrCode.HOLD_CONFLICT)
    assert paid.work() == [(1, Step.CREDENTIALS)]


def test_a_joint_trip_is_refused_when_someone_asks_to_pay_for_it(world: World) -> None:
    assert world.hear("order.paid", trip="joint").result == "done"
    assert world.hear("purchase.need_pay").err_code == ErrCode.JOINT_TRIP
    assert world.work() == []


def test_an_unknown_agent_is_refused_and_am_is_told(world: World) -> None:
    answer = world.hear("purchase.need_pay", agent="nobody")
    assert (answer.result, answer.err_code) == ("refused", ErrCode.UNKNOWN_AGENT)
    assert world.results() == [(f"{ORDER_NO}:0:purchase.refused", "purchase.refused", 1)]


def test_the_order_of_another_agent_is_unknown(paid: World) -> None:
    paid.store.write(
        lambda tx: tx.connection.exec_driver_sql(
            "INSERT INTO agents SELECT 'other', callback_url, merchant_key_sealed, webhook_secret_sealed, NULL, NULL,"
            " created_at FROM agents"
        )
    )
    assert paid.hear("purchase.need_pay", agent="other").err_code == ErrCode.UNKNOWN_ORDER
    assert paid.hear("purchase.confirmed", agent="other").err_code == ErrCode.UNKNOWN_ORDER
    assert paid.order().closure is None


def test_tickets_of_several_holds_are_refused(paid: World) -> None:
    tickets = [TICKET, {**TICKET, "ticket_no": "E000000001"}]
    answer = paid.hear("purchase.need_pay", tickets=tickets)
    assert (answer.result, answer.err_code) == ("refused", ErrCode.BAD_PARAMETER)
    assert paid.order().generation == 0


def test_each_refusal_of_a_generation_is_told_once_more_with_the_next_number(paid: World) -> None:
    paid.hear("purchase.need_pay")
    for _ in range(2):
        paid.hear("purchase.need_pay", held_order_no="E000000001", tickets=[])
    assert [(kind, seq) for _, kind, seq in paid.results()] == [
        ("purchase.accepted", 1),
        ("purchase.refused", 2),
        ("purchase.refused", 3),
    ]


def test_importing_again_opens_the_next_generation_and_settles_the_last_one(paid: World) -> None:
    paid.hear("purchase.need_pay")
    paid.to(S.HELD_UNPAID)
    assert paid.callbacks() == [(1, "2", "pending")]
    assert paid.dead_letters() == [(1, "payment", "hold_expired", "open")]
    again = paid.hear("purchase.need_pay", held_order_no="E000000002", tickets=[])
    assert (again.result, again.generation) == ("accepted", 2)
    assert paid.callbacks() == [(1, "2", "cancelled")], "what was not delivered is not told any more"
    assert paid.dead_letters() == [(1, "payment", "hold_expired", "superseded")]
    assert (paid.purchase(2).held_order_no, paid.purchase(2).state) == ("E000000002", S.ACCEPTED)
    assert [identifier for identifier, _, _ in paid.results()] == [
        f"{ORDER_NO}:1:purchase.accepted",
        f"{ORDER_NO}:1:purchase.held_unpaid",
        f"{ORDER_NO}:2:purchase.accepted",
    ]


# -- a need_pay that overtook its order -------------------------------------------------------------------------------


def test_a_request_waits_for_its_order_and_is_taken_up(world: World) -> None:
    assert world.hear("purchase.need_pay").result == "waiting"
    assert world.work() == [(0, Step.ORDER_WAIT)]
    world.hear("order.paid")
    assert world.purchase().state == S.ACCEPTED
    assert world.work() == [(1, Step.CREDENTIALS)]
    assert world.rows("requests", "answer, generation, payload", "type = 'purchase.need_pay'") == [
        ("accepted", 1, None)
    ]


def test_waiting_does_not_give_the_agent_more_time(world: World) -> None:
    asked = world.clock.now()
    world.hear("purchase.need_pay", at=asked)
    world.clock.move(200)
    world.hear("order.paid")
    assert world.purchase().stop_at == asked + timedelta(seconds=LIMITS.submit_within_s)


def test_of_two_requests_that_wait_the_first_is_accepted_and_the_second_repeats(world: World) -> None:
    world.hear("purchase.need_pay")
    world.clock.move(1)
    world.hear("purchase.need_pay")
    world.hear("order.paid")
    assert world.order().generation == 1
    assert [row[0] for row in world.rows("requests", "answer", "type = 'purchase.need_pay'")] == ["accepted", "repeat"]


def test_a_request_that_brings_its_order_takes_up_the_one_that_waits(world: World) -> None:
    world.hear("purchase.need_pay")
    assert world.hear("purchase.need_pay", order=ORDER).result == "repeat"
    assert world.order().generation == 1
    assert world.work() == [(1, Step.CREDENTIALS)]


def test_a_request_that_brings_its_order_needs_no_other_message(world: World) -> None:
    assert world.hear("purchase.need_pay", order=ORDER).result == "accepted"
    assert world.balances() == {"frozen": FARE}
    assert world.hear("order.paid").result == "repeat"


def test_a_request_that_waits_is_judged_when_its_order_comes(world: World) -> None:
    world.hear("purchase.need_pay")
    world.hear("order.paid", trip="joint")
    assert world.order().generation == 0
    assert [kind for _, kind, _ in world.results()] == ["purchase.refused"]


def test_a_request_whose_order_never_comes_is_given_up(world: World) -> None:
    world.hear("purchase.need_pay")
    key = work.work_key(ORDER_NO, 0, Step.ORDER_WAIT)
    assert world.store.write(lambda tx: work.take(tx, [key])).value == [], "not before ORDER_WAIT_S"
    world.clock.move(LIMITS.order_wait_s + 1)
    assert len(world.store.write(lambda tx: work.take(tx, [key])).value) == 1
    world.store.write(lambda tx: acceptance.give_up_waiting(tx, ORDER_NO))
    ((answer, payload),) = world.rows("requests", "answer, payload")
    assert answer == "refused"
    assert HOLD in payload, "kept: a person may replay it once the order is there"
    assert SEALED not in payload, "but not its password"
    assert world.dead_letters() == [(0, "intake", "order_unknown", "open")]
    assert [kind for _, kind, _ in world.results()] == ["purchase.refused"]


def test_a_request_is_answered_once_by_its_order_or_by_its_time(world: World) -> None:
    world.hear("purchase.need_pay")
    world.hear("order.paid")
    world.store.write(lambda tx: acceptance.give_up_waiting(tx, ORDER_NO))
    assert world.dead_letters() == []
    assert world.purchase().state == S.ACCEPTED


def test_an_order_that_comes_too_late_can_be_asked_for_again(world: World) -> None:
    world.hear("purchase.need_pay")
    world.store.write(lambda tx: acceptance.give_up_waiting(tx, ORDER_NO))
    world.hear("order.paid")
    assert world.order().generation == 0
    assert world.hear("purchase.need_pay").result == "accepted"


@pytest.mark.parametrize(
    ("prepared", "code"),
    [
        (S.PURCHASED, ErrCode.ALREADY_PURCHASED),
        (S.SETTLED, ErrCode.ALREADY_PURCHASED),
        (S.PAID_ABNORMAL, ErrCode.PAID_ABNORMAL),
        (S.NEVER_DEBITED, ErrCode.PAID_ABNORMAL),
    ],
)
def test_what_was_paid_or_may_have_been_is_never_imported_again(paid: World, prepared: S, code: ErrCode) -> None:
    paid.hear("purchase.need_pay")
    paid.to(prepared)
    assert paid.hear("purchase.need_pay").err_code == code
    assert paid.order().generation == 1


def test_a_closed_order_is_not_imported(paid: World) -> None:
    paid.hear("purchase.no_ticket")
    assert paid.order().closure == Closure.NO_TICKET
    assert paid.hear("purchase.need_pay").err_code == ErrCode.CLOSED
