"""How purchases end: state, money, callback, result, dead letter, task and work change together, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import endings, setbacks
from pipeline.reasons import Reason
from pipeline.stage import MAX_UNEXPECTED
from pipeline.states import PurchaseState
from pipeline.store import dead_letters, work
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.work import Step, WorkRow
from tests.contract.store_subjects import LEASE_S, WORKER
from tests.unit.message_samples import ORDER_NO
from tests.unit.order_world import FARE, FEN, World, order_world

S = PurchaseState
CREDENTIALS = f"{ORDER_NO}:1:credentials"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The purchase is accepted."""
    with order_world(tmp_path) as made:
        made.hear("order.paid")
        made.hear("purchase.need_pay")
        yield made


def told(world: World) -> list[str]:
    return [kind.removeprefix("purchase.") for _, kind, _ in world.results()]


@pytest.mark.parametrize("state", [S.ACCEPTED, S.READY, S.PAYING])
def test_an_end_before_the_intent_tells_everybody_and_leaves_no_work(world: World, state: S) -> None:
    world.to(state)
    assert world.end_before_intent(reason=Reason.HOLD_EXPIRED)
    purchase = world.purchase()
    assert (purchase.state, purchase.reason, purchase.password_sealed) == (S.HELD_UNPAID, "hold_expired", None)
    assert purchase.concluded_at is not None
    assert world.callbacks() == [(1, "2", "pending")]
    assert world.dead_letters() == [(1, "payment", "hold_expired", "open")]
    assert told(world) == ["accepted", "held_unpaid"]
    assert world.work() == [(0, Step.TELL)]
    assert world.rows("attempts", "count(*)", "concluded_at IS NULL") == [(0,)]
    assert world.balances() == {"frozen": FARE}, "the user's money stays frozen: it may be imported again"


def test_it_ends_once(world: World) -> None:
    assert world.end_before_intent()
    assert not world.end_before_intent(reason=Reason.REQUEST_EXPIRED)
    assert world.purchase().reason == "hold_expired"
    assert told(world) == ["accepted", "held_unpaid"]


def test_what_a_stage_gave_up_stays_the_one_dead_letter(world: World) -> None:
    (row,) = world.store.read(lambda tx: work.find(tx, [CREDENTIALS]))
    world.store.write(lambda tx: setbacks.give_up(tx, row, Reason.CRASH_LOOP, "三次", actor="test"))
    assert world.work() == []
    assert world.purchase().state == S.ACCEPTED, "a dead letter alone ends nothing"
    world.end_before_intent(reason=Reason.REQUEST_EXPIRED)
    assert world.dead_letters() == [(1, "credentials", "crash_loop", "open")]
    assert world.purchase().reason == "request_expired"


def test_proven_unpaid_gives_the_hold_back(world: World) -> None:
    world.to(S.IN_DOUBT)
    assert world.balances() == {"frozen": FARE, "in_flight": FEN}
    assert world.conclude_unpaid()
    assert (world.purchase().state, world.purchase().reason) == (S.HELD_UNPAID, "unpaid_after_deadline")
    assert (world.attempt().proof, world.balances()) == ("no_payment", {"frozen": FARE})
    assert world.work() == [(0, Step.TELL)]
    assert world.callbacks() == [(1, "2", "pending")]
    assert not world.conclude_paid()


def test_proven_unpaid_may_be_imported_and_submitted_again(world: World) -> None:
    world.to(S.IN_DOUBT)
    world.conclude_unpaid()
    assert world.hear("purchase.need_pay").generation == 2
    world.to(S.PAYING, generation=2)
    assert world.submit(2) is None


def test_proven_paid_is_settled_next_and_told(world: World) -> None:
    world.to(S.IN_DOUBT)
    assert world.conclude_paid()
    assert (world.purchase().state, world.purchase().paid_fen) == (S.PURCHASED, FEN)
    assert (world.attempt().proof, world.attempt().debited_fen) == ("paid", FEN)
    assert world.work() == [(0, Step.TELL), (1, Step.SETTLE)]
    assert world.callbacks() == [(1, "1", "pending")]
    assert told(world) == ["accepted", "purchased"]
    assert world.dead_letters() == []
    assert not world.conclude_paid()


def test_proven_paid_before_anybody_saw_it_in_doubt_is_one_write(world: World) -> None:
    world.to(S.PAYING)
    assert world.submit() is None
    assert world.conclude_paid()
    assert (world.purchase().state, world.purchase().paid_fen) == (S.PURCHASED, FEN)
    assert world.work() == [(0, Step.TELL), (1, Step.SETTLE)]


def test_paid_but_abnormal_is_a_persons_task_and_keeps_the_money_in_flight(world: World) -> None:
    world.to(S.IN_DOUBT)
    assert world.conclude_abnormal(reason=Reason.NOT_ISSUED)
    assert (world.purchase().state, world.purchase().reason) == (S.PAID_ABNORMAL, "not_issued")
    assert world.attempt().concluded_at is None, "only a person concludes it"
    assert world.balances() == {"frozen": FARE, "in_flight": FEN}
    assert world.tasks() == ["close_abnormal"]
    assert world.callbacks() == [(1, "3", "pending")]
    assert world.dead_letters() == [(1, "payment", "not_issued", "open")]
    assert world.work() == [(0, Step.TELL)]


def test_an_agent_that_could_not_be_told_hides_no_dead_letter_of_the_payment(world: World) -> None:
    world.to(S.IN_DOUBT)
    facts = DeadLetterFacts(
        "notification", ORDER_NO, 1, "a1", Reason.CALLBACK_EXHAUSTED, "the provisional 3 was not taken", 9, FARE, None
    )
    world.store.write(lambda tx: dead_letters.add(tx, facts))
    world.conclude_abnormal(reason=Reason.OUTCOME_UNKNOWN)
    assert [letter[1:3] for letter in world.dead_letters()] == [
        ("notification", "callback_exhausted"),
        ("payment", "outcome_unknown"),
    ]


def test_a_later_outcome_replaces_what_was_not_told_yet(world: World) -> None:
    world.to(S.PAID_ABNORMAL)
    world._move(f"{ORDER_NO}:1", S.PAID_ABNORMAL, S.PURCHASED)
    found = world.purchase()
    world.store.write(lambda tx: endings.purchased(tx, [(found, FEN)], {}, actor="person"))
    assert world.callbacks() == [(1, "3", "cancelled"), (1, "1", "pending")]


def claimed(world: World) -> WorkRow:
    (row,) = world.store.write(lambda tx: work.claim(tx, [CREDENTIALS], WORKER, LEASE_S)).value
    return row


def test_an_unexpected_error_is_tried_again_later_and_later_and_is_a_dead_letter_in_the_end(world: World) -> None:
    waits = []
    for _ in range(MAX_UNEXPECTED - 1):
        row, before = claimed(world), world.clock.now()
        world.store.write(lambda tx, row=row: setbacks.put_off(tx, row, "ZeroDivisionError", actor="test"))  # type: ignore[misc]
        (later,) = world.store.read(lambda tx: work.find(tx, [CREDENTIALS]))
        waits.append((later.due_at - before).total_seconds())
        world.clock.move(waits[-1] + 1)
        world.store.write(lambda tx: tx.connection.exec_driver_sql("UPDATE workers SET alive_until = 9e18"))
    assert waits == sorted(waits)
    row = claimed(world)
    world.store.write(lambda tx: setbacks.put_off(tx, row, "ZeroDivisionError", actor="test"))
    assert world.work() == []
    assert world.dead_letters() == [(1, "credentials", "unexpected_error", "open")]
