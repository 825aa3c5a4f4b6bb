"""The point of no return against everything that would stop it: exactly one of them wins, never both (DESIGN section 5.3).

First the interleavings that PostgreSQL's READ COMMITTED makes possible, staged one by one: a statement that waited for a
row reads that row anew, but every other table as of before its wait. Then the same opponents let loose on each other.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from pipeline import endings
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, orders
from pipeline.store.engine import Store, Transaction
from tests.contract.store_subjects import (
    POSTGRESQL,
    SQLITE,
    Paying,
    fund,
    intent_of,
    opened,
    order,
    paying,
    procurement_and_in_flight,
    purchase,
    read,
    ready,
    start_paying,
    url_of,
    value,
    worker,
    write,
)

PATIENCE_S = 20.0
ROUNDS = 200
FEN = 1000

Act = Callable[[Transaction], Any]


@pytest.fixture
def postgresql(fresh_database: str) -> Iterator[Store]:
    with opened(fresh_database) as store:
        write(store, worker)
        write(store, fund)
        yield store


class Step:
    """A transaction that stops between its statements until it is told to go on."""

    def __init__(self) -> None:
        self._reached, self._go = threading.Event(), threading.Event()

    def stop_here(self) -> None:
        self._reached.set()
        assert self._go.wait(PATIENCE_S), "nobody let it go on"

    def reached(self) -> None:
        assert self._reached.wait(PATIENCE_S), "it never got there"

    def go(self) -> None:
        self._go.set()


@contextmanager
def at_once() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def until_somebody_waits(store: Store) -> None:
    """Return once a transaction waits for another one's lock."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    pause = threading.Event()
    for _ in range(int(PATIENCE_S * 100)):
        if store.read(lambda tx: tx.run(query).scalar_one()):
            return
        pause.wait(0.01)
    raise AssertionError("nobody waits")


def intends(subject: Paying) -> Act:
    return lambda tx: attempts.record_intent(tx, subject.intent)


def ends(purchase_id: str) -> Act:
    """What the relay does at `stop_at`, and a request that withdraws."""

    def end(tx: Transaction) -> bool:
        found = orders.load_purchases(tx, [purchase_id])[purchase_id]
        return endings.end_before_intent(tx, found, Reason.REQUEST_EXPIRED, "", stage="payment", actor="test")

    return end


def then_stops(act: Act, step: Step) -> Act:
    def run(tx: Transaction) -> Any:
        result = act(tx)
        step.stop_here()
        return result

    return run


def runs(pool: ThreadPoolExecutor, store: Store, act: Act) -> Future[Any]:
    return pool.submit(lambda: store.write(act).value)


def state_of(store: Store, purchase_id: str) -> str:
    return str(value(store, "SELECT state FROM purchases WHERE id = :p", p=purchase_id))


def is_submitted(store: Store, purchase_id: str) -> bool:
    return bool(read(store, attempts.submitted, [purchase_id]))


def test_an_end_that_comes_while_the_intent_commits_loses(postgresql: Store) -> None:
    subject = write(postgresql, paying, "o1")
    step = Step()
    with at_once() as pool:
        intent = runs(pool, postgresql, then_stops(intends(subject), step))
        step.reached()
        end = runs(pool, postgresql, ends(subject.purchase_id))
        until_somebody_waits(postgresql)
        step.go()
        assert intent.result(PATIENCE_S) is None
        assert end.result(PATIENCE_S) is False
    assert (state_of(postgresql, "o1:1"), is_submitted(postgresql, "o1:1")) == (PurchaseState.PAYING, True)


def test_an_intent_that_comes_while_the_end_commits_loses(postgresql: Store) -> None:
    subject = write(postgresql, paying, "o1")
    step = Step()
    with at_once() as pool:
        end = runs(pool, postgresql, then_stops(ends(subject.purchase_id), step))
        step.reached()
        intent = runs(pool, postgresql, intends(subject))
        until_somebody_waits(postgresql)
        step.go()
        assert end.result(PATIENCE_S) is True
        assert intent.result(PATIENCE_S) == attempts.STOPPED
    assert (state_of(postgresql, "o1:1"), is_submitted(postgresql, "o1:1")) == (PurchaseState.HELD_UNPAID, False)
    assert procurement_and_in_flight(postgresql) == (1_000_000, 0)


def test_an_end_that_saw_no_attempt_yet_still_loses_to_its_intent(postgresql: Store) -> None:
    """It found no attempt to close; the attempt was opened and submits while the end waits for the purchase row."""
    write(postgresql, ready, "o1")
    slow, committing = Step(), Step()

    def slow_end(tx: Transaction) -> bool:
        assert not attempts.close_open(tx, "o1:1", "request_expired")
        slow.stop_here()
        return orders.end_before_intent(tx, "o1:1", Reason.REQUEST_EXPIRED, "")

    with at_once() as pool:
        end = runs(pool, postgresql, slow_end)
        slow.reached()
        subject = write(postgresql, start_paying, "o1")
        intent = runs(pool, postgresql, then_stops(intends(subject), committing))
        committing.reached()
        slow.go()
        until_somebody_waits(postgresql)
        committing.go()
        assert intent.result(PATIENCE_S) is None
        assert end.result(PATIENCE_S) is False
    assert state_of(postgresql, "o1:1") == PurchaseState.PAYING


def test_an_end_closes_the_attempt_that_was_opened_behind_its_back(postgresql: Store) -> None:
    """Otherwise the hold number would stay bound, and no later purchase could pay it."""
    write(postgresql, ready, "o1")
    step = Step()

    def opening(tx: Transaction) -> Any:
        subject = start_paying(tx, "o1")
        attempts.bind_hold(tx, subject.intent.attempt_id, subject.intent.held_order_no)
        step.stop_here()
        return subject

    with at_once() as pool:
        opener = runs(pool, postgresql, opening)
        step.reached()
        end = runs(pool, postgresql, ends("o1:1"))
        until_somebody_waits(postgresql)
        step.go()
        subject = opener.result(PATIENCE_S)
        assert end.result(PATIENCE_S) is True
    assert value(postgresql, "SELECT count(*) FROM attempts WHERE concluded_at IS NULL") == 0
    assert write(postgresql, attempts.record_intent, subject.intent) == attempts.STOPPED


def test_no_attempt_is_opened_on_a_purchase_that_is_ending(postgresql: Store) -> None:
    write(postgresql, ready, "o1")
    step = Step()
    with at_once() as pool:
        end = runs(pool, postgresql, then_stops(ends("o1:1"), step))
        step.reached()
        opener = pool.submit(
            lambda: (
                postgresql.write(lambda tx: orders.move(tx, "o1:1", PurchaseState.READY, PurchaseState.PAYING)).value
            )
        )
        until_somebody_waits(postgresql)
        step.go()
        assert end.result(PATIENCE_S) is True
        assert opener.result(PATIENCE_S) is False
    assert value(postgresql, "SELECT count(*) FROM attempts") == 0


def test_two_orders_that_submit_the_same_hold_at_once_are_one_payment(postgresql: Store) -> None:
    first, second = (write(postgresql, paying, number) for number in ("o1", "o2"))
    step = Step()
    with at_once() as pool:
        one = runs(pool, postgresql, then_stops(intends(first), step))
        step.reached()
        other = runs(pool, postgresql, intends(second))
        until_somebody_waits(postgresql)
        step.go()
        assert one.result(PATIENCE_S) is None
        assert other.result(PATIENCE_S) == attempts.HOLD_TAKEN
    assert procurement_and_in_flight(postgresql) == (1_000_000 - 124_100, 124_100)


def test_a_fund_that_serves_one_serves_one_of_two_at_once(postgresql: Store) -> None:
    first, second = (write(postgresql, paying, number, hold=f"E{number}", fen=600_000) for number in ("o1", "o2"))
    step = Step()
    with at_once() as pool:
        one = runs(pool, postgresql, then_stops(intends(first), step))
        step.reached()
        other = runs(pool, postgresql, intends(second))
        until_somebody_waits(postgresql)
        step.go()
        assert one.result(PATIENCE_S) is None
        assert other.result(PATIENCE_S) == attempts.NO_FUNDS
    assert procurement_and_in_flight(postgresql) == (400_000, 600_000)


def test_an_order_is_not_closed_under_a_purchase_that_is_being_accepted(postgresql: Store) -> None:
    write(postgresql, order, "o1")
    step = Step()

    def close(tx: Transaction) -> bool:
        found = orders.load(tx, ["o1"])["o1"]
        return endings.close_offline(tx, found, {"tickets": []}, actor="test")

    with at_once() as pool:
        accepted = runs(pool, postgresql, then_stops(lambda tx: purchase(tx, "o1"), step))
        step.reached()
        closed = runs(pool, postgresql, close)
        until_somebody_waits(postgresql)
        step.go()
        assert accepted.result(PATIENCE_S) == "o1:1"
        assert closed.result(PATIENCE_S) is False
    assert value(postgresql, "SELECT closure FROM orders") is None


def test_no_purchase_is_accepted_for_an_order_that_is_closing_or_to_be_refunded(postgresql: Store) -> None:
    for number, statement in (
        ("o1", "UPDATE orders SET closure = 'no_ticket' WHERE order_no = 'o1'"),
        ("o2", "UPDATE orders SET refund_requested_at = 1 WHERE order_no = 'o2'"),
    ):
        write(postgresql, order, number)
        step = Step()
        values = {"agent": "xcslw", "login": "l", "origin": "queue", "requested_at": 0, "stop_at": 0}
        with at_once() as pool:
            change = runs(pool, postgresql, then_stops(lambda tx, s=statement: tx.moved(text(s)), step))
            step.reached()
            accepted = runs(pool, postgresql, lambda tx, n=number, v=values: orders.open_generation(tx, n, 0, v))
            until_somebody_waits(postgresql)
            step.go()
            assert change.result(PATIENCE_S) == 1
            assert accepted.result(PATIENCE_S) is None


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Store]:
    with opened(url_of(request.param, request, tmp_path)) as opened_store:
        write(opened_store, worker)
        yield opened_store


def let_loose(store: Store, rounds: list[tuple[Act, Act]]) -> list[tuple[Any, Any]]:
    """Run both acts of each round at the same moment, each on a connection of its own; their answers."""
    barrier = threading.Barrier(2)

    def side(number: int) -> list[Any]:
        answers, whim = [], random.Random(number)
        for acts in rounds:
            barrier.wait(PATIENCE_S)
            sum(range(whim.randrange(20_000)))  # now this one, now that one is first
            answers.append(store.write(acts[number]).value)
        return answers

    with at_once() as pool:
        sides = [pool.submit(side, number) for number in (0, 1)]
        return list(zip(*(each.result(120) for each in sides), strict=True))


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
