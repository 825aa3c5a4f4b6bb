"""Postings: each balances, names its order, and shares its key with whatever excludes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ledger import (
    ACCOUNT_WORDS,
    ALLOWED_LEGS,
    GUARDED,
    Account,
    Kind,
    Posting,
    Unbalanced,
    departure_unfreeze,
    found_payment,
    freeze,
    full_refund,
    hold,
    post,
    railway_refund,
    top_up,
    unfreeze,
    void,
)

AGENT, ORDER, ATTEMPT = "xcslw", "xcslw141117203122003", "xcslw141117203122003:1:1"
FEN = st.integers(min_value=1, max_value=10**9)
A = Account


def legs(posting: Posting) -> dict[Account, int]:
    return dict(posting.legs)


def test_the_sample_order_is_frozen_held_posted_and_unfrozen() -> None:
    """DESIGN section 6: fare 1284.00, paid 1241.00, back to the user 43.00."""
    assert legs(freeze(AGENT, ORDER, 128_400)) == {A.USER: -128_400, A.FROZEN: 128_400}
    assert legs(hold(AGENT, ORDER, ATTEMPT, 124_100)) == {A.PROCUREMENT: -124_100, A.IN_FLIGHT: 124_100}
    assert legs(post(AGENT, ORDER, ATTEMPT, 124_100, 124_100)) == {A.IN_FLIGHT: -124_100, A.RAILWAY: 124_100}
    assert legs(unfreeze(AGENT, ORDER, 128_400, 124_100)) == {A.FROZEN: -128_400, A.AVAILABLE: 124_100, A.USER: 4_300}


def test_a_debit_that_differs_from_the_hold_takes_from_or_returns_to_procurement() -> None:
    assert legs(post(AGENT, ORDER, ATTEMPT, 100, 130)) == {A.IN_FLIGHT: -100, A.RAILWAY: 130, A.PROCUREMENT: -30}
    assert legs(post(AGENT, ORDER, ATTEMPT, 100, 70)) == {A.IN_FLIGHT: -100, A.RAILWAY: 70, A.PROCUREMENT: 30}


def test_more_than_the_frozen_fare_never_goes_to_the_agent() -> None:
    assert legs(unfreeze(AGENT, ORDER, 100, 130)) == {A.FROZEN: -100, A.AVAILABLE: 100}
    assert legs(unfreeze(AGENT, ORDER, 100, 100)) == {A.FROZEN: -100, A.AVAILABLE: 100}
    assert legs(unfreeze(AGENT, ORDER, 100, 0)) == {A.FROZEN: -100, A.USER: 100}


@pytest.mark.parametrize(
    "moved",
    [
        (),
        ((A.USER, 0), (A.FROZEN, 0)),
        ((A.USER, -1), (A.FROZEN, 2)),
        ((A.USER, 0),),
        ((A.USER, -1), (A.FROZEN, 1), (A.BANK, 0)),
    ],
)
def test_what_does_not_balance_or_moves_nothing_is_refused(moved: tuple[tuple[Account, int], ...]) -> None:
    with pytest.raises(Unbalanced):
        Posting("k", Kind.FREEZE, AGENT, moved)


def test_a_debit_of_nothing_is_no_post() -> None:
    with pytest.raises(Unbalanced):
        post(AGENT, ORDER, ATTEMPT, 100, 0)


@given(frozen=FEN, paid=FEN, held=FEN, debited=FEN)
def test_every_posting_moves_only_what_its_kind_may_move(frozen: int, paid: int, held: int, debited: int) -> None:
    made = [
        freeze(AGENT, ORDER, frozen),
        hold(AGENT, ORDER, ATTEMPT, held),
        post(AGENT, ORDER, ATTEMPT, held, debited),
        void(AGENT, ORDER, ATTEMPT, held),
        found_payment(AGENT, ORDER, debited),
        unfreeze(AGENT, ORDER, frozen, paid),
        departure_unfreeze(AGENT, ORDER, frozen),
        full_refund(AGENT, ORDER, frozen),
        railway_refund(AGENT, ORDER, "r1", debited),
        top_up(AGENT, "t1", held, "充值"),
    ]
    assert {posting.kind for posting in made} == set(Kind)
    for posting in made:
        gives, gains = ALLOWED_LEGS[posting.kind]
        assert sum(fen for _, fen in posting.legs) == 0
        assert {account for account, fen in posting.legs if fen < 0} <= gives
        assert {account for account, fen in posting.legs if fen > 0} <= gains


def test_all_ways_out_of_frozen_share_one_key() -> None:
    ways = (
        unfreeze(AGENT, ORDER, 2, 1),
        departure_unfreeze(AGENT, ORDER, 2),
        full_refund(AGENT, ORDER, 2),
    )
    assert {posting.key for posting in ways} == {f"thaw:{ORDER}"}


def test_post_and_void_of_a_hold_share_one_key() -> None:
    assert post(AGENT, ORDER, ATTEMPT, 1, 1).key == void(AGENT, ORDER, ATTEMPT, 1).key == f"resolve:{ATTEMPT}"


def test_a_railway_refund_has_one_key_per_order_and_refund() -> None:
    keys = {railway_refund(AGENT, order, refund, 1).key for order in ("o1", "o2") for refund in ("r1", "r2")}
    assert len(keys) == 4


def test_every_account_has_its_word_and_the_outside_is_not_guarded() -> None:
    assert set(ACCOUNT_WORDS) == set(Account)
    assert set(Account) - GUARDED == {A.USER, A.RAILWAY, A.BANK}
