"""How many calls may begin: limits of an upstream that all workers share, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.store import control, pace, work
from pipeline.store.engine import Store, Transaction
from pipeline.store.pace import Pace
from pipeline.store.work import Step
from tests.contract.store_subjects import LEASE_S, WORKER, order, purchase, worker, write

OTHER = "worker-2"
THREE_AT_ONCE = Pace("railway", rate=None, concurrency=3)


@pytest.fixture
def store(store: Store) -> Store:
    write(store, worker)
    write(store, worker, OTHER)
    return store


def pay_rows(store: Store, *order_nos: str) -> list[str]:
    for number in order_nos:
        write(store, order, number)
        write(store, purchase, number)
        write(store, work.add, number, 1, Step.PAY, urgency=datetime.now(UTC))
    return [work.work_key(number, 1, Step.PAY) for number in order_nos]


def begun(store: Store, keys: list[str], limit: Pace, owner: str = WORKER) -> int:
    """Claim these rows; how many of their calls may begin. The others are given back, as payment does."""

    def claim(tx: Transaction) -> int:
        rows = work.claim(tx, keys, owner, LEASE_S)
        granted = pace.grant(tx, limit, len(rows), claimed=len(rows))
        work.again_all(tx, [work.Later(row, datetime.now(UTC), None, counts=False) for row in rows[granted:]])
        return granted

    granted: int = write(store, claim)
    return granted


def test_without_limits_all_may_begin(store: Store) -> None:
    assert begun(store, pay_rows(store, "o1", "o2", "o3", "o4"), Pace("railway", None, None)) == 4


def test_no_more_calls_begin_than_the_upstream_has_places_for_whoever_makes_them(store: Store) -> None:
    keys = pay_rows(store, "o1", "o2", "o3", "o4", "o5")
    assert begun(store, keys[:2], THREE_AT_ONCE) == 2
    assert begun(store, keys[2:], THREE_AT_ONCE, OTHER) == 1
    assert begun(store, keys, THREE_AT_ONCE) == 2, "its own two again, whose claim it may not have heard of"
    assert begun(store, keys[3:], THREE_AT_ONCE, OTHER) == 0


def test_a_call_that_is_over_leaves_its_place(store: Store) -> None:
    keys = pay_rows(store, "o1", "o2", "o3", "o4")
    assert begun(store, keys, THREE_AT_ONCE) == 3
    rows = write(store, work.claim, keys[:1], WORKER, LEASE_S)
    write(store, work.finish_all, rows)
    assert begun(store, keys[3:], THREE_AT_ONCE) == 1


def test_whoever_is_gone_holds_no_place(store: Store) -> None:
    keys = pay_rows(store, "o1", "o2", "o3", "o4")
    assert begun(store, keys[:3], THREE_AT_ONCE) == 3
    write(store, control.close_worker, WORKER)
    assert begun(store, keys[3:], THREE_AT_ONCE, OTHER) == 1


def test_what_other_stages_hold_takes_no_place(store: Store) -> None:
    keys = pay_rows(store, "o1", "o2", "o3")
    write(store, work.add, "o1", 0, Step.TELL, urgency=datetime.now(UTC))
    assert len(write(store, work.claim, [work.work_key("o1", 0, Step.TELL)], OTHER, LEASE_S)) == 1
    assert begun(store, keys, THREE_AT_ONCE) == 3


def test_a_rate_lets_a_first_call_begin_and_the_next_a_while_later(store: Store) -> None:
    keys = pay_rows(store, "o1", "o2")
    assert begun(store, keys, Pace("railway", rate=0.001, concurrency=None)) == 1
    assert begun(store, keys[1:], Pace("railway", rate=0.001, concurrency=None), OTHER) == 0
    assert begun(store, keys[1:], Pace("cashier", rate=0.001, concurrency=None), OTHER) == 1
