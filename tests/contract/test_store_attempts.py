"""Attempts and the intent: what the unique indexes hold, what an intent needs, and that a refused one leaves nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from pipeline import endings
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, orders
from pipeline.store.attempts import HOLD_TAKEN, NO_FUNDS, STOPPED, HoldTaken, Intent, Opening, Refusal
from pipeline.store.engine import Store, Transaction
from tests.contract.store_subjects import (
    HOLD,
    LOGIN,
    Paying,
    count,
    fund,
    paying,
    procurement_and_in_flight,
    read,
    sql,
    us_ago,
    value,
    worker,
    write,
)

FUND = 1_000_000
FEN = 124_100


@pytest.fixture
def store(store: Store) -> Store:
    write(store, worker)
    write(store, fund, FUND)
    return store


@pytest.fixture
def subject(store: Store) -> Paying:
    made: Paying = write(store, paying, "o1")
    return made


def record(store: Store, intent: Intent) -> Refusal | None:
    refusal: Refusal | None = write(store, attempts.record_intent, intent)
    return refusal


def left_nothing(store: Store) -> bool:
    """No intent, no posting, no moved money."""
    return (
        count(store, "attempts", "submitted_at IS NOT NULL OR trade_no IS NOT NULL") == 0
        and count(store, "purchases", "intent_at IS NOT NULL") == 0
        and count(store, "ledger_postings", "kind = 'hold'") == 0
        and count(store, "ledger_entries", "account = 'in_flight'") == 0
        and procurement_and_in_flight(store) == (FUND, 0)
    )


def end(tx: Transaction, purchase_id: str) -> bool:
    found = orders.load_purchases(tx, [purchase_id])[purchase_id]
    return endings.end_before_intent(tx, found, Reason.WITHDRAWN, "", stage="intake", actor="test")


def test_an_intent_is_recorded_with_its_hold_on_the_fund(store: Store, subject: Paying) -> None:
    assert record(store, subject.intent) is None
    assert procurement_and_in_flight(store) == (FUND - FEN, FEN)
    stored = read(store, attempts.submitted, ["o1:1"])["o1:1"]
    assert (stored.held_order_no, stored.trade_no, stored.amount_fen) == (HOLD, "To11", FEN)
    assert stored.final_after == subject.intent.final_after
    assert value(store, "SELECT held_order_no FROM purchases") == HOLD
    assert read(store, attempts.is_recorded, "o1:1:1", subject.intent.fence)


def test_an_intent_is_recorded_once(store: Store, subject: Paying) -> None:
    assert record(store, subject.intent) is None
    assert record(store, subject.intent) == STOPPED
    assert procurement_and_in_flight(store) == (FUND - FEN, FEN)


def test_an_intent_is_known_by_attempt_and_fence(store: Store, subject: Paying) -> None:
    assert not read(store, attempts.is_recorded, "o1:1:1", subject.intent.fence)
    record(store, subject.intent)
    assert not read(store, attempts.is_recorded, "o1:1:1", subject.intent.fence + 1)
    assert not read(store, attempts.is_recorded, "o1:1:2", subject.intent.fence)


def closed_by_a_stop(store: Store, subject: Paying) -> Intent:
    assert write(store, attempts.close_open, subject.purchase_id, "paused")
    return subject.intent


def ended(store: Store, subject: Paying) -> Intent:
    assert write(store, end, subject.purchase_id)
    return subject.intent


def ended_though_the_attempt_stayed_open(store: Store, subject: Paying) -> Intent:
    sql(store, "UPDATE purchases SET state = 'held_unpaid'")
    return subject.intent


def after_stop_at(store: Store, subject: Paying) -> Intent:
    sql(store, "UPDATE purchases SET stop_at = :past", past=us_ago(0.001))
    return subject.intent


def after_the_forms_deadline(_store: Store, subject: Paying) -> Intent:
    return subject.intent._replace(form_deadline=datetime.now(UTC) - timedelta(milliseconds=1))


def under_another_fence(_store: Store, subject: Paying) -> Intent:
    return subject.intent._replace(fence=subject.intent.fence + 1)


def put_back_to_ready(store: Store, subject: Paying) -> Intent:
    write(store, orders.move, subject.purchase_id, PurchaseState.PAYING, PurchaseState.READY)
    return subject.intent


@pytest.mark.parametrize(
    "stop",
    [
        closed_by_a_stop,
        ended,
        ended_though_the_attempt_stayed_open,
        after_stop_at,
        after_the_forms_deadline,
        under_another_fence,
        put_back_to_ready,
    ],
)
def test_an_intent_loses_and_leaves_nothing(store: Store, subject: Paying, stop: Any) -> None:
    assert record(store, stop(store, subject)) == STOPPED
    assert left_nothing(store)


def test_an_intent_without_funds_leaves_nothing(store: Store, subject: Paying) -> None:
    assert record(store, subject.intent._replace(amount_fen=FUND + 1)) == NO_FUNDS
    assert left_nothing(store)


def test_an_intent_for_a_hold_of_another_payment_leaves_nothing_more(store: Store, subject: Paying) -> None:
    other = write(store, paying, "o2")
    assert record(store, subject.intent) is None
    assert record(store, other.intent) == HOLD_TAKEN
    assert procurement_and_in_flight(store) == (FUND - FEN, FEN)
    assert count(store, "attempts", "submitted_at IS NOT NULL") == 1


def test_a_refused_intent_does_not_spoil_the_others_of_its_batch(store: Store) -> None:
    first, second, third = (write(store, paying, f"o{n}", hold=f"E{n}") for n in range(3))
    write(store, attempts.close_open, second.purchase_id, "paused")

    def batch(tx: Transaction) -> list[Refusal | None]:
        return [attempts.record_intent(tx, each.intent) for each in (first, second, third)]

    assert store.write(batch).value == [None, STOPPED, None]
    assert procurement_and_in_flight(store) == (FUND - 2 * FEN, 2 * FEN)


def test_what_was_submitted_can_neither_be_closed_nor_ended_unpaid(store: Store, subject: Paying) -> None:
    record(store, subject.intent)
    assert not write(store, attempts.close_open, "o1:1", "paused")
    assert not write(store, attempts.close_one, "o1:1:1", "paused")
    assert not write(store, end, "o1:1")
    assert value(store, "SELECT state FROM purchases") == PurchaseState.PAYING
    assert value(store, "SELECT concluded_at FROM attempts") is None


def test_an_attempt_taken_for_the_first_is_numbered_after_those_there_are(store: Store, subject: Paying) -> None:
    write(store, attempts.close_open, subject.purchase_id, "drained")
    first = Opening(subject.purchase_id, "o1", 1, LOGIN, 1, first=True)
    assert write(store, attempts.open_all, [first]) == {subject.purchase_id: f"{subject.purchase_id}:2"}


def test_a_hold_is_bound_once(store: Store, subject: Paying) -> None:
    other = write(store, paying, "o2")
    assert write(store, attempts.bind_holds, [(subject.intent.attempt_id, HOLD)]) == {}
    with pytest.raises(HoldTaken):
        write(store, attempts.bind_holds, [(other.intent.attempt_id, HOLD)])
    write(store, attempts.close_open, subject.purchase_id, "again")
    assert write(store, attempts.bind_holds, [(other.intent.attempt_id, HOLD)]) == {}, (
        "an attempt that ended without intent frees it"
    )


def test_a_proof_is_written_once(store: Store, subject: Paying) -> None:
    assert not write(store, attempts.conclude, "o1:1:1", "not_sent", 0, ""), "nothing was submitted yet"
    record(store, subject.intent)
    assert write(store, attempts.conclude, "o1:1:1", "paid", FEN, "")
    assert not write(store, attempts.conclude, "o1:1:1", "no_payment", 0, "")
    assert value(store, "SELECT proof FROM attempts") == "paid"


# -- the indexes: what holds the promise whatever the code does -------------------------------------------------------

COLUMNS = "id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at, submitted_at, concluded_at, proof"


def attempt_row(
    store: Store, attempt: str, *, hold: str = HOLD, submitted: bool = True, proof: str | None = None
) -> None:
    """Write one attempt behind everybody's back; `attempt` is order:generation:n. It is open unless it is proven."""
    order_no, generation, n = attempt.split(":")
    sql(
        store,
        f"INSERT INTO attempts ({COLUMNS}, amount_fen, trade_no, final_after)"  # noqa: S608 - our own columns
        " VALUES (:id, :p, :o, :g, :n, 1, :login, :hold, 1, :submitted, :concluded, :proof, 100, 't', 2)",
        id=attempt,
        p=f"{order_no}:{generation}",
        o=order_no,
        g=int(generation),
        n=int(n),
        login=LOGIN,
        hold=hold,
        submitted=1 if submitted else None,
        concluded=1 if proof else None,
        proof=proof,
    )


@pytest.mark.parametrize("submitted", [True, False])
def test_a_purchase_has_one_open_attempt(store: Store, submitted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    attempt_row(store, "o1:1:1", hold="E1", submitted=False)
    with pytest.raises(IntegrityError):
        attempt_row(store, "o1:1:2", hold="E2", submitted=submitted)


@pytest.mark.parametrize("proof", ["paid", "refused", "not_sent", "no_payment", "person"])
def test_a_purchase_submits_once_ever_whatever_was_proven(store: Store, proof: str) -> None:
    attempt_row(store, "o1:1:1", hold="E1", proof=proof)
    with pytest.raises(IntegrityError):
        attempt_row(store, "o1:1:2", hold="E2")


@pytest.mark.parametrize("proof", [None, "paid", "person"])
def test_an_order_submits_once_unless_proven_unpaid(store: Store, proof: str | None) -> None:
    attempt_row(store, "o1:1:1", hold="E1", proof=proof)
    with pytest.raises(IntegrityError):
        attempt_row(store, "o1:2:1", hold="E2")


@pytest.mark.parametrize("proof", ["refused", "not_sent", "no_payment"])
def test_proven_unpaid_frees_order_and_hold(store: Store, proof: str) -> None:
    attempt_row(store, "o1:1:1", proof=proof)
    attempt_row(store, "o1:2:1")
    assert count(store, "attempts") == 2


@pytest.mark.parametrize(("submitted", "proof"), [(True, None), (True, "paid"), (True, "person"), (False, None)])
def test_a_hold_is_in_one_unresolved_or_paid_attempt(store: Store, submitted: bool, proof: str | None) -> None:  # noqa: FBT001
    attempt_row(store, "o1:1:1", submitted=submitted, proof=proof)
    with pytest.raises(IntegrityError):
        attempt_row(store, "o2:1:1")
    with pytest.raises(IntegrityError):
        attempt_row(store, "o2:1:1", submitted=False)


@pytest.mark.parametrize("missing", ["held_order_no", "trade_no", "amount_fen", "final_after"])
def test_a_submitted_attempt_names_hold_trade_amount_and_time(store: Store, missing: str) -> None:
    attempt_row(store, "o1:1:1")
    with pytest.raises(IntegrityError):
        sql(store, f"UPDATE attempts SET {missing} = NULL")  # noqa: S608 - one of our columns
