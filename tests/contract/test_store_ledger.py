"""Postings on both databases: each once, sums zero, guarded accounts never below zero, and nothing left of what is refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from pipeline.ledger import (
    GUARDED,
    Account,
    Posting,
    departure_unfreeze,
    freeze,
    full_refund,
    hold,
    post,
    railway_refund,
    top_up,
    unfreeze,
    void,
)
from pipeline.store import ledger
from pipeline.store.engine import Store, Transaction
from pipeline.store.ledger import Overdrawn
from pipeline.store.tables import ledger_entries
from tests.contract.store_subjects import AGENT, count, read, value, write

ORDER = "xcslw141117203122003"
ATTEMPT = f"{ORDER}:1:1"


def apply(store: Store, *postings: Posting) -> set[str]:
    new: set[str] = write(store, ledger.apply, postings)
    return new


def balances(store: Store, agent: str = AGENT) -> dict[str, int]:
    return {account.value: fen for account, fen in read(store, ledger.balances, agent).items() if fen}


def test_the_sample_order_from_payment_to_settlement(store: Store) -> None:
    apply(store, top_up(AGENT, "t1", 200_000, "充值"), freeze(AGENT, ORDER, 128_400))
    apply(store, hold(AGENT, ORDER, ATTEMPT, 124_100))
    assert balances(store) == {"frozen": 128_400, "procurement": 75_900, "in_flight": 124_100}
    assert read(store, ledger.in_flight_fen) == 124_100
    apply(store, post(AGENT, ORDER, ATTEMPT, 124_100, 124_100), unfreeze(AGENT, ORDER, 128_400, 124_100))
    assert balances(store) == {"procurement": 75_900, "available": 124_100}
    back = value(store, "SELECT sum(amount_fen) FROM ledger_entries WHERE account = 'user' AND amount_fen > 0")
    assert back == 4_300


def test_a_posting_done_twice_is_done_once(store: Store) -> None:
    once = top_up(AGENT, "t1", 100, "充值")
    assert apply(store, once, once) == {once.key}
    assert apply(store, once) == set()
    assert balances(store) == {"procurement": 100}


def test_balances_that_may_wait_move_once_right_before_the_commit(store: Store) -> None:
    apply(store, top_up(AGENT, "t1", 500, "充值"))

    def undone(tx: Transaction) -> None:
        with tx.savepoint():
            ledger.apply_late(tx, [freeze(AGENT, "o3", 7)])
            raise LookupError

    def work(tx: Transaction) -> dict[Account, int]:
        ledger.apply_late(tx, [freeze(AGENT, ORDER, 100), freeze(AGENT, "o2", 20)])
        ledger.apply_late(tx, [freeze(AGENT, ORDER, 100), full_refund(AGENT, "o2", 20)])
        with pytest.raises(LookupError):
            undone(tx)
        return ledger.balances(tx, AGENT)

    assert write(store, work)[Account.FROZEN] == 0
    assert balances(store) == {"procurement": 500, "frozen": 100}
    assert count(store, "ledger_postings") == 4
    with pytest.raises(Overdrawn):
        write(store, ledger.apply_late, [hold(AGENT, ORDER, ATTEMPT, 501)])
    assert balances(store) == {"procurement": 500, "frozen": 100}
    assert count(store, "ledger_postings") == 4


def test_frozen_money_leaves_once_whichever_way_comes_first(store: Store) -> None:
    apply(store, freeze(AGENT, ORDER, 100), freeze(AGENT, "o2", 100))
    assert apply(store, full_refund(AGENT, ORDER, 100))
    assert apply(store, unfreeze(AGENT, ORDER, 100, 60)) == set()
    assert apply(store, departure_unfreeze(AGENT, ORDER, 100)) == set()
    assert balances(store) == {"frozen": 100}


def test_a_hold_is_posted_or_voided_never_both(store: Store) -> None:
    apply(store, top_up(AGENT, "t1", 100, "充值"), hold(AGENT, ORDER, ATTEMPT, 60))
    assert apply(store, void(AGENT, ORDER, ATTEMPT, 60))
    assert apply(store, post(AGENT, ORDER, ATTEMPT, 60, 60)) == set()
    assert balances(store) == {"procurement": 100}


def test_what_overdraws_leaves_nothing(store: Store) -> None:
    apply(store, top_up(AGENT, "t1", 100, "充值"))

    def batch(tx: Transaction) -> None:
        with tx.savepoint():
            ledger.apply(tx, [hold(AGENT, ORDER, ATTEMPT, 60)])
        with pytest.raises(Overdrawn) as caught, tx.savepoint():
            ledger.apply(tx, [hold(AGENT, "o2", "o2:1:1", 41)])
        assert caught.value.short == ((AGENT, Account.PROCUREMENT),)
        with tx.savepoint():
            ledger.apply(tx, [hold(AGENT, "o3", "o3:1:1", 40)])

    store.write(batch)
    assert balances(store) == {"in_flight": 100}
    assert count(store, "ledger_postings", "order_no = 'o2'") == 0
    assert count(store, "ledger_entries", "posting_key = 'hold:o2:1:1'") == 0


def test_an_account_nobody_ever_filled_holds_nothing(store: Store) -> None:
    with pytest.raises(Overdrawn):
        apply(store, hold("nobody", ORDER, ATTEMPT, 1))
    assert count(store, "ledger_postings") == 0


def test_agents_do_not_share_their_money(store: Store) -> None:
    apply(store, top_up("a", "t1", 100, "充值"), top_up("b", "t2", 50, "充值"))
    with pytest.raises(Overdrawn):
        apply(store, hold("b", ORDER, ATTEMPT, 60))
    assert (balances(store, "a"), balances(store, "b")) == ({"procurement": 100}, {"procurement": 50})


FEN = st.integers(min_value=1, max_value=500)
NUMBER = st.sampled_from(["o1", "o2", "o3"])
POSTINGS = st.one_of(
    st.builds(lambda key, fen: top_up(AGENT, key, fen, "充值"), st.sampled_from("abcdef"), FEN),
    st.builds(lambda order, fen: freeze(AGENT, order, fen), NUMBER, FEN),
    st.builds(lambda order, fen: hold(AGENT, order, f"{order}:1:1", fen), NUMBER, FEN),
    st.builds(lambda order, held, paid: post(AGENT, order, f"{order}:1:1", held, paid), NUMBER, FEN, FEN),
    st.builds(lambda order, fen: void(AGENT, order, f"{order}:1:1", fen), NUMBER, FEN),
    st.builds(lambda order, frozen, paid: unfreeze(AGENT, order, frozen, paid), NUMBER, FEN, FEN),
    st.builds(lambda order, fen: full_refund(AGENT, order, fen), NUMBER, FEN),
    st.builds(lambda order, fen: departure_unfreeze(AGENT, order, fen), NUMBER, FEN),
    st.builds(lambda order, number, fen: railway_refund(AGENT, order, number, fen), NUMBER, st.sampled_from("xy"), FEN),
)
ENTRIES = select(ledger_entries)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(POSTINGS, min_size=1, max_size=4), max_size=8))
def test_whatever_is_posted_sums_stay_zero_and_guarded_accounts_above(
    store: Store, batches: list[list[Posting]]
) -> None:
    def run(tx: Transaction) -> None:
        """All in one transaction that is rolled back, so that every example starts empty."""
        for batch in batches:
            before = ledger.balances(tx, AGENT)
            try:
                with tx.savepoint():
                    ledger.apply(tx, batch)
            except Overdrawn:
                assert ledger.balances(tx, AGENT) == before
            check(tx)

    def check(tx: Transaction) -> None:
        entries = tx.rows(ENTRIES)
        sums: dict[str, int] = {}
        for row in entries:
            sums[row.posting_key] = sums.get(row.posting_key, 0) + row.amount_fen
        assert set(sums.values()) <= {0}
        for account, fen in ledger.balances(tx, AGENT).items():
            assert fen == sum(row.amount_fen for row in entries if row.account == account) >= 0
        assert set(ledger.balances(tx, AGENT)) == GUARDED

    store.read(run)
