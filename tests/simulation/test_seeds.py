"""Seeds of the simulation: those that once found something are kept for ever, and builds broken on purpose must be found.

Thousands of other seeds run in `make test-deep`. To see one: `daifu simulate --seed N`.
"""

from __future__ import annotations

import pytest

from pipeline.cli.simulation.seeds import run_seed
from tests.simulation import mutants

# Seed, orders, and what it found when it first failed, with the date.
KEPT: tuple[tuple[int, int, str], ...] = (
    (
        25,
        20,
        "2026-11-28: none of daifu's: the simulation's own desk asked her who had proposed an ending to confirm it, for ever",
    ),
    (
        80,
        20,
        "2026-11-23: a worker that had lost its row gave a callback up, and nobody told the agent or made a dead letter",
    ),
    (152, 20, "2026-11-23: a worker that stood still told 3 after 1 was told, and the agent was left with 3"),
    (707, 20, "2026-11-28: questions tried a changed password again and again, and locked the agent's own account"),
    (
        1289,
        20,
        "2026-11-29: none of daifu's: 12306's clock, set back for one form, had the cashier take another, of which it was proven "
        "before, by the right clock, that it was too late",
    ),
)
FRESH = (5, 9)
SLOW = (mutants.an_unclear_intent_is_sent,)  # in `make test-deep`


@pytest.mark.parametrize(("seed", "orders", "found"), KEPT, ids=[f"seed-{seed}" for seed, _orders, _found in KEPT])
def test_what_a_seed_once_found_stays_mended(seed: int, orders: int, found: str) -> None:
    verdict = run_seed(seed, orders)
    assert verdict.ok, (found, verdict.broken)


@pytest.mark.parametrize("seed", FRESH)
def test_a_seed_pays_at_most_once_and_loses_nothing(seed: int) -> None:
    verdict = run_seed(seed, 10)
    assert verdict.ok, verdict.broken


@pytest.mark.parametrize("mutant", [one for one in mutants.CAUGHT_BY if one not in SLOW])
def test_a_build_that_is_broken_on_purpose_is_found(mutant: mutants.Mutant) -> None:
    assert mutants.catching_seed(mutant) is not None
