"""Acts of people right before and right after the point of no return; all other points are tried in `make test-deep` (see `act_points`)."""

from __future__ import annotations

import pytest

from tests.simulation import mutants
from tests.simulation.act_points import ACTS, explore

BEFORE, AFTER = "payment IntentWriter.tx:before #1", "payment IntentWriter.tx:after #1"
# A pause puts the payment off, and it is made once the pause is over.
ENDS_BEFORE = {
    "CONFIRM": "held_unpaid withdrawn",
    "NO_TICKET": "held_unpaid withdrawn",
    "refund": "held_unpaid withdrawn",
}


@pytest.mark.parametrize("act", ACTS)
def test_who_comes_before_the_intent_stops_the_payment(act: str) -> None:
    tally = explore("ok", (f"{act} at {BEFORE}",))
    assert (tally.failures, tally.died) == ([], 1)
    assert list(tally.endings) == [ENDS_BEFORE.get(act, "settled")]


@pytest.mark.parametrize("act", ACTS)
def test_who_comes_after_it_stops_nothing(act: str) -> None:
    tally = explore("ok", (f"{act} at {AFTER}",))
    assert (tally.failures, tally.died, list(tally.endings)) == ([], 1, ["settled"])


def test_an_act_that_never_comes_is_found_out() -> None:
    assert explore("ok", ("pause at payment submit:never #1",)).failures


def test_a_payment_that_is_made_in_spite_of_an_act_is_found_out() -> None:
    with mutants.no_guard_at_the_intent():
        assert explore("ok", (f"NO_TICKET at {BEFORE}",)).failures
