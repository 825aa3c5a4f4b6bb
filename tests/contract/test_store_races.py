"""The point of no return and its opponents let loose on each other: exactly one wins, never both (DESIGN section 5.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.states import PurchaseState
from pipeline.store import attempts, orders
from pipeline.store.engine import Store, Transaction
from tests.contract.store_acts import Act, ends, intends, let_loose
from tests.contract.store_subjects import (
    Paying,
    fund,
    intent_of,
    paying,
    procurement_and_in_flight,
    read,
    ready,
    value,
    worker,
    write,
)

ROUNDS = 100
FEN = 1000


@pytest.fixture
def store(store: Store) -> Store:
    write(store, worker)
    return store


def closes(purchase_id: str) -> Act:
    """What a pause or a takeover does."""
    return lambda tx: attempts.close_open(tx, purchase_id, "paused")


@pytest.mark.parametrize("opponent", [ends, closes])
def test_an_intent_and_its_opponent_never_both_win(store: Store, opponent: Callable[[str], Act]) -> None:
    def prepare(tx: Transaction) -> list[Paying]:
        fund(tx, ROUNDS * FEN)
        return [paying(tx, f"o{n}", hold=f"E{n}", fen=FEN) for n in range(ROUNDS)]

    subjects = write(store, prepare)
    answers = let_loose(store, [(intends(each), opponent(each.purchase_id)) for each in subjects])
    assert all((refusal is None) != stopped for refusal, stopped in answers)
    submitted = read(store, attempts.submitted, [each.purchase_id for each in subjects])
    won = {each.purchase_id for each, (refusal, _) in zip(subjects, answers, strict=True) if refusal is None}
    assert set(submitted) == won
    held_unpaid = value(store, "SELECT count(*) FROM purchases WHERE state = 'held_unpaid'")
    assert held_unpaid == (ROUNDS - len(won) if opponent is ends else 0)
    assert procurement_and_in_flight(store) == ((ROUNDS - len(won)) * FEN, len(won) * FEN)


def test_two_intents_for_one_order_never_both_win(store: Store) -> None:
    """Two workers that both believe to hold the purchase, each with the attempt's right fence."""

    def prepare(tx: Transaction) -> list[Paying]:
        fund(tx, ROUNDS * FEN)
        return [paying(tx, f"o{n}", hold=f"E{n}", fen=FEN) for n in range(ROUNDS)]

    subjects = write(store, prepare)
    answers = let_loose(store, [(intends(each), intends(each)) for each in subjects])
    assert all(sorted((one is None, other is None)) == [False, True] for one, other in answers)
    assert procurement_and_in_flight(store) == (0, ROUNDS * FEN)


def test_opening_an_attempt_and_ending_its_purchase_leave_no_open_attempt(store: Store) -> None:
    def opens(order_no: str) -> Act:
        def act(tx: Transaction) -> bool:
            purchase_id = f"{order_no}:1"
            if not orders.move(tx, purchase_id, PurchaseState.READY, PurchaseState.PAYING):
                return False
            attempts.open_attempt(tx, purchase_id, order_no, 1, "l", 1)
            return True

        return act

    def prepare(tx: Transaction) -> None:
        fund(tx, ROUNDS * FEN)
        for n in range(ROUNDS):
            ready(tx, f"o{n}")

    write(store, prepare)
    answers = let_loose(store, [(opens(f"o{n}"), ends(f"o{n}:1")) for n in range(ROUNDS)])
    assert all(ended for _, ended in answers)
    assert value(store, "SELECT count(*) FROM attempts WHERE concluded_at IS NULL") == 0
    for n, (was_opened, _) in enumerate(answers):
        if was_opened:
            assert write(store, attempts.record_intent, intent_of(f"o{n}", hold=f"E{n}")) == attempts.STOPPED
