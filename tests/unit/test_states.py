"""The states of purchases and orders: exactly the listed steps, and what each state is called by everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.reasons import Outcome
from pipeline.states import (
    BEFORE_INTENT,
    LIVE,
    ORDER_STATE_OF,
    ORDER_STATE_WORDS,
    STATE_WORDS,
    TRANSITIONS,
    Closure,
    IllegalTransition,
    OrderState,
    PurchaseState,
    check,
    diagram,
    order_state,
    outcome_of,
)
from pipeline.store import orders
from tests.unit.message_samples import ORDER_NO
from tests.unit.order_world import World, order_world

S = PurchaseState

# DESIGN section 5, word for word.
LISTED = """
accepted -> ready
ready -> paying
paying -> in_doubt
in_doubt -> purchased
purchased -> settled
accepted -> held_unpaid
ready -> held_unpaid
paying -> held_unpaid
paying -> ready
in_doubt -> held_unpaid
in_doubt -> paid_abnormal
paying -> paid_abnormal
paid_abnormal -> purchased
paid_abnormal -> refunded
paid_abnormal -> never_debited
"""
STEPS = {(S(was), S(then)) for was, then in (line.split(" -> ") for line in LISTED.split("\n") if line)}
OTHERS = sorted((was, then) for was in S for then in S if (was, then) not in STEPS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with order_world(tmp_path) as made:
        made.hear("order.paid")
        made.hear("purchase.need_pay")
        yield made


def test_exactly_the_designed_steps_are_listed() -> None:
    assert {(was, then) for was, following in TRANSITIONS.items() for then in following} == STEPS
    for was, then in STEPS:
        check(was, then)


@pytest.mark.parametrize(("was", "then"), OTHERS)
def test_a_step_that_is_not_listed_raises(was: S, then: S) -> None:
    with pytest.raises(IllegalTransition, match=f"from {was} to {then}"):
        check(was, then)


def test_a_step_that_is_not_listed_changes_nothing(world: World) -> None:
    before = tuple(world.purchase())
    key = f"{ORDER_NO}:1"
    with pytest.raises(IllegalTransition):
        world.store.write(lambda tx: orders.move(tx, key, S.ACCEPTED, S.PAYING))
    with pytest.raises(IllegalTransition):
        world.store.write(lambda tx: orders.end(tx, key, S.ACCEPTED, S.PURCHASED, None, "", 1))
    assert tuple(world.purchase()) == before


def test_a_listed_step_from_a_state_that_was_left_moves_nothing(world: World) -> None:
    key = f"{ORDER_NO}:1"
    assert world.store.write(lambda tx: orders.move(tx, key, S.ACCEPTED, S.READY)).value
    assert not world.store.write(lambda tx: orders.move(tx, key, S.ACCEPTED, S.READY)).value


def test_only_a_person_leaves_paid_abnormal_and_nobody_leaves_the_ends() -> None:
    ends = {state for state, following in TRANSITIONS.items() if not following}
    assert ends == {S.SETTLED, S.HELD_UNPAID, S.REFUNDED, S.NEVER_DEBITED}


def test_from_the_intent_on_there_is_no_way_back_to_paying() -> None:
    reachable, grown = {S.IN_DOUBT}, True
    while grown:
        following = set().union(*(TRANSITIONS[state] for state in reachable))
        grown = not following <= reachable
        reachable |= following
    assert not reachable & {S.ACCEPTED, S.READY, S.PAYING}


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (S.ACCEPTED, None),
        (S.READY, None),
        (S.PAYING, None),
        (S.IN_DOUBT, None),
        (S.PURCHASED, Outcome.PURCHASED),
        (S.SETTLED, Outcome.PURCHASED),
        (S.HELD_UNPAID, Outcome.HELD_UNPAID),
        (S.NEVER_DEBITED, Outcome.HELD_UNPAID),
        (S.PAID_ABNORMAL, Outcome.PAID_ABNORMAL),
        (S.REFUNDED, Outcome.PAID_ABNORMAL),
    ],
)
def test_each_state_stands_for_its_outcome(state: S, outcome: Outcome | None) -> None:
    assert outcome_of(state) is outcome
    assert (state in LIVE) is (outcome is None)


def test_what_is_before_the_intent_is_live_and_not_in_doubt() -> None:
    assert LIVE - {S.IN_DOUBT} == BEFORE_INTENT


@pytest.mark.parametrize(
    ("latest", "expected"),
    [
        (None, OrderState.PAID),
        (S.ACCEPTED, OrderState.PURCHASING),
        (S.READY, OrderState.PURCHASING),
        (S.PAYING, OrderState.PURCHASING),
        (S.IN_DOUBT, OrderState.PURCHASING),
        (S.PURCHASED, OrderState.TICKETED),
        (S.SETTLED, OrderState.TICKETED),
        (S.HELD_UNPAID, OrderState.PURCHASE_FAILED),
        (S.PAID_ABNORMAL, OrderState.PURCHASE_FAILED),
        (S.NEVER_DEBITED, OrderState.PURCHASE_FAILED),
        (S.REFUNDED, OrderState.REFUNDED),
    ],
)
def test_an_open_orders_state_follows_from_its_latest_purchase(latest: S | None, expected: OrderState) -> None:
    assert order_state(None, latest) is expected


@pytest.mark.parametrize("closure", list(Closure))
@pytest.mark.parametrize("latest", [None, *S])
def test_a_closed_order_is_called_by_how_it_was_closed(closure: Closure, latest: S | None) -> None:
    assert order_state(closure, latest).value == closure.value


def test_every_state_has_its_word_and_its_order_state() -> None:
    assert set(STATE_WORDS) == set(S) == set(ORDER_STATE_OF)
    assert set(ORDER_STATE_WORDS) == set(OrderState)


def test_the_diagram_draws_every_step_once() -> None:
    lines = [line.strip() for line in diagram().split("\n")]
    assert lines[0] == "stateDiagram-v2"
    drawn = [line for line in lines[1:] if "[*]" not in line]
    assert sorted(drawn) == sorted(f"{was} --> {then}" for was, then in STEPS)
