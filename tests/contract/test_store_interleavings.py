"""The point of no return against everything that would stop it, staged statement by statement (DESIGN section 5.3).

PostgreSQL's READ COMMITTED makes these possible: a statement that waited for a row reads that row anew, but every other
table as of before its wait. On SQLite there is one writer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from pipeline import closings
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, orders
from pipeline.store.engine import Row, Store, Transaction
from tests.contract.store_acts import (
    PATIENCE_S,
    Act,
    Step,
    at_once,
    ends,
    intends,
    meet,
    runs,
    then_stops,
    until_somebody_waits,
)
from tests.contract.store_subjects import (
    Paying,
    fund,
    opened,
    order,
    paying,
    procurement_and_in_flight,
    purchase,
    read,
    ready,
    start_paying,
    value,
    worker,
    write,
)


@pytest.fixture
def postgresql(fresh_database: str) -> Iterator[Store]:
    with opened(fresh_database) as store:
        write(store, worker)
        write(store, fund)
        yield store


def state_of(store: Store, purchase_id: str) -> str:
    return str(value(store, "SELECT state FROM purchases WHERE id = :p", p=purchase_id))


def is_submitted(store: Store, purchase_id: str) -> bool:
    return bool(read(store, attempts.submitted, [purchase_id]))


def test_an_end_that_comes_while_the_intent_commits_loses(postgresql: Store) -> None:
    subject = write(postgresql, paying, "o1")
    intent, end = meet(postgresql, intends(subject), ends(subject.purchase_id))
    assert intent is None
    assert end is False
    assert (state_of(postgresql, "o1:1"), is_submitted(postgresql, "o1:1")) == (PurchaseState.PAYING, True)


def test_an_intent_that_comes_while_the_end_commits_loses(postgresql: Store) -> None:
    subject = write(postgresql, paying, "o1")
    end, intent = meet(postgresql, ends(subject.purchase_id), intends(subject))
    assert end is True
    assert intent == attempts.STOPPED
    assert (state_of(postgresql, "o1:1"), is_submitted(postgresql, "o1:1")) == (PurchaseState.HELD_UNPAID, False)
    assert procurement_and_in_flight(postgresql) == (1_000_000, 0)


def test_an_end_that_saw_no_attempt_yet_still_loses_to_its_intent(postgresql: Store) -> None:
    """It found no attempt to close; the attempt was opened and submits while the end waits for the purchase row."""
    write(postgresql, ready, "o1")
    slow, committing = Step(), Step()

    def slow_end(tx: Transaction) -> bool:
        assert not attempts.close_open(tx, "o1:1", "request_expired")
        slow.stop_here()
        return bool(orders.end_before_intent(tx, [("o1:1", Reason.REQUEST_EXPIRED, "")]))

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

    def opening(tx: Transaction) -> Paying:
        subject = start_paying(tx, "o1")
        attempts.bind_holds(tx, [(subject.intent.attempt_id, subject.intent.held_order_no)])
        return subject

    subject, end = meet(postgresql, opening, ends("o1:1"))
    assert end is True
    assert value(postgresql, "SELECT count(*) FROM attempts WHERE concluded_at IS NULL") == 0
    assert write(postgresql, attempts.record_intent, subject.intent) == attempts.STOPPED


def test_no_attempt_is_opened_on_a_purchase_that_is_ending(postgresql: Store) -> None:
    write(postgresql, ready, "o1")
    opens: Act = lambda tx: orders.move(tx, "o1:1", PurchaseState.READY, PurchaseState.PAYING)  # noqa: E731
    end, opened = meet(postgresql, ends("o1:1"), opens)
    assert end is True
    assert opened is False
    assert value(postgresql, "SELECT count(*) FROM attempts") == 0


def test_two_orders_that_submit_the_same_hold_at_once_are_one_payment(postgresql: Store) -> None:
    first, second = (write(postgresql, paying, number) for number in ("o1", "o2"))
    one, other = meet(postgresql, intends(first), intends(second))
    assert one is None
    assert other == attempts.HOLD_TAKEN
    assert procurement_and_in_flight(postgresql) == (1_000_000 - 124_100, 124_100)


def test_a_fund_that_serves_one_serves_one_of_two_at_once(postgresql: Store) -> None:
    first, second = (write(postgresql, paying, number, hold=f"E{number}", fen=600_000) for number in ("o1", "o2"))
    one, other = meet(postgresql, intends(first), intends(second))
    assert one is None
    assert other == attempts.NO_FUNDS
    assert procurement_and_in_flight(postgresql) == (400_000, 600_000)


def test_an_order_is_not_closed_under_a_purchase_that_is_being_accepted(postgresql: Store) -> None:
    write(postgresql, order, "o1")

    def close(tx: Transaction) -> bool:
        found = orders.load(tx, ["o1"])["o1"]
        return closings.close_offline(tx, found, {"tickets": []}, actor="test")

    accepted, closed = meet(postgresql, lambda tx: purchase(tx, "o1"), close)
    assert accepted == "o1:1"
    assert closed is False
    assert value(postgresql, "SELECT closure FROM orders") is None


@pytest.mark.parametrize("change", ["closure = 'no_ticket'", "refund_requested_at = 1"])
def test_no_purchase_is_accepted_for_an_order_that_is_closing_or_to_be_refunded(postgresql: Store, change: str) -> None:
    write(postgresql, order, "o1")

    def changing(tx: Transaction) -> int:
        return tx.moved(text(f"UPDATE orders SET {change}"))  # noqa: S608 - one of the two above

    def accepting(tx: Transaction) -> dict[str, Row[Any]]:
        return orders.next_generations(tx, [("o1", 0)])

    changed, accepted = meet(postgresql, changing, accepting)
    assert changed == 1
    assert accepted == {}
