"""Suspects of a crash loop and time with a breaker open, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.breaker import count_outage
from pipeline.store import control, suspects, work
from pipeline.store.engine import Store, Transaction
from pipeline.store.work import Step, work_key
from tests.contract.store_subjects import (
    LEASE_S,
    WORKER,
    order,
    purchase,
    sql,
    value,
    worker,
    write,
)

ORDERS = [f"o{n}" for n in range(6)]
KEYS = [work_key(order_no, 1, Step.PAY) for order_no in ORDERS]


@pytest.fixture
def store(store: Store) -> Store:
    write(store, worker)
    for order_no in ORDERS:
        write(store, order, order_no)
        write(store, purchase, order_no)
        write(store, work.add, order_no, 1, Step.PAY, urgency=datetime.now(UTC))
    return store


def tried(tx: Transaction) -> list[str]:
    """What a worker that claims everything may call now."""
    return [row.key for row in suspects.on_trial(tx, work.claim(tx, KEYS, WORKER, LEASE_S), WORKER)]


def test_the_unsuspected_are_all_called(store: Store) -> None:
    assert sorted(write(store, tried)) == KEYS


def test_after_a_first_death_suspects_go_in_two_fixed_halves_and_who_waits_is_given_back(store: Store) -> None:
    write(store, suspects.count, KEYS)
    half = write(store, tried)
    assert 0 < len(half) < len(KEYS)
    held = value(store, "SELECT count(*) FROM work WHERE lease_owner IS NOT NULL")
    assert held == len(half)
    write(store, work.remove, half)  # the trial is over
    sql(store, "UPDATE work SET due_at = 0")
    assert set(write(store, tried)) == set(KEYS) - set(half)


def test_while_one_trial_runs_no_other_suspect_is_called(store: Store) -> None:
    write(store, suspects.count, KEYS[:1])
    write(store, suspects.count, KEYS[:1])
    assert KEYS[0] in write(store, tried)
    write(store, work.remove, KEYS[1:])
    write(store, work.add, ORDERS[1], 1, Step.PAY, urgency=datetime.now(UTC))
    write(store, suspects.count, KEYS[1:2])
    rows = write(store, lambda tx: suspects.on_trial(tx, work.claim(tx, KEYS[1:2], WORKER, LEASE_S), WORKER))
    assert rows == []


def test_after_a_second_death_suspects_go_alone_the_least_suspect_first(store: Store) -> None:
    for keys in (KEYS, KEYS, KEYS[:5]):
        write(store, suspects.count, keys)
    assert write(store, tried) == [KEYS[5]]


def test_who_comes_through_is_suspected_no_longer(store: Store) -> None:
    write(store, suspects.count, KEYS)
    write(store, suspects.absolve, KEYS[:2])
    assert write(store, suspects.deaths_of, KEYS) == {key: int(key not in KEYS[:2]) for key in KEYS}


def test_two_breakers_open_at_once_are_left_out_once(store: Store) -> None:
    write(store, control.open_breaker, "railway", "down", 5.0)
    write(store, control.open_breaker, "cashier", "down", 5.0)
    first = write(store, control.uncounted_outage)
    write(store, count_outage, 3600.0)
    counted = write(store, control.uncounted_outage)
    assert first is not None
    assert counted > first
    write(store, control.close_breaker, "railway")
    write(store, control.close_breaker, "cashier")
    assert write(store, control.uncounted_outage) is None
