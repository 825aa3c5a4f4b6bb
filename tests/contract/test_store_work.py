"""Work rows: claimed by a lease and a fence, given back, finished, due again; the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.store import control, suspects, work
from pipeline.store.engine import Store, Transaction
from pipeline.store.work import Step, WorkRow
from tests.contract.store_subjects import (
    AGENT,
    LEASE_S,
    LOGIN,
    WORKER,
    count,
    order,
    purchase,
    read,
    sql,
    us_ago,
    value,
    worker,
    write,
)

OTHER = "worker-2"
SOON = timedelta(seconds=30)


@pytest.fixture
def store(store: Store) -> Store:
    write(store, worker)
    write(store, worker, OTHER)
    write(store, order, "o1")
    write(store, purchase, "o1")
    return store


def now() -> datetime:
    return datetime.now(UTC)


def put(
    store: Store, step: Step = Step.PAY, *, generation: int = 1, due_at: datetime | None = None, order_no: str = "o1"
) -> str:
    write(store, work.add, order_no, generation, step, urgency=now(), due_at=due_at)
    return work.work_key(order_no, generation, step)


def claim(store: Store, *keys: str, owner: str = WORKER) -> list[WorkRow]:
    rows: list[WorkRow] = write(store, work.claim, keys, owner, LEASE_S)
    return rows


def test_a_claimed_row_is_nobody_elses(store: Store) -> None:
    key = put(store)
    (row,) = claim(store, key)
    assert (row.key, row.purchase_id, row.fence, row.deaths) == (key, "o1:1", 1, 0)
    assert claim(store, key, owner=OTHER) == []


def test_what_a_lost_commit_had_claimed_is_claimed_again_by_its_owner_alone(store: Store) -> None:
    key = put(store)
    (lost,) = claim(store, key)
    assert claim(store, key, owner=OTHER) == []
    (again,) = claim(store, key)
    assert again.fence == lost.fence + 1, "what the first claim began can't be finished under its old fence"


def test_due_work_is_published_after_the_commit_and_later_work_is_not(store: Store) -> None:
    done = store.write(lambda tx: work.add(tx, "o1", 1, Step.PAY, urgency=now()))
    assert done.wakes == {"o1:1:pay": "payment"}
    later = store.write(lambda tx: work.add(tx, "o1", 1, Step.ASK, urgency=now(), due_at=now() + SOON))
    assert later.wakes == {}


def test_what_is_due_later_is_not_claimed(store: Store) -> None:
    key = put(store, due_at=now() + SOON)
    assert claim(store, key) == []
    assert write(store, work.take, [key]) == []
    sql(store, "UPDATE work SET due_at = :past", past=us_ago(1))
    assert len(claim(store, key)) == 1


def test_a_lease_that_ran_out_frees_the_row_under_a_new_fence(store: Store) -> None:
    key = put(store)
    (first,) = claim(store, key)
    sql(store, "UPDATE work SET lease_end = :past", past=us_ago(1))
    (second,) = claim(store, key, owner=OTHER)
    assert (second.fence, second.deaths) == (first.fence + 1, 0), "its holder lives: it was slow, it did not die"
    assert not write(store, work.finish, first)
    assert not write(store, work.again, first, now(), "late")
    assert write(store, work.finish, second)


def test_a_dead_owner_frees_its_rows_before_their_lease_ends_and_counts_a_death(store: Store) -> None:
    key = put(store)
    claim(store, key)
    sql(store, "UPDATE workers SET alive_until = :past WHERE id = :w", past=us_ago(1), w=WORKER)
    (row,) = claim(store, key, owner=OTHER)
    assert (row.fence, row.deaths) == (2, 1)


def test_a_worker_that_closed_leaves_its_rows_free(store: Store) -> None:
    key = put(store)
    claim(store, key)
    write(store, control.close_worker, WORKER)
    assert len(claim(store, key, owner=OTHER)) == 1


def test_an_owner_nobody_knows_holds_nothing(store: Store) -> None:
    key = put(store)
    sql(store, "UPDATE work SET lease_owner = 'forgotten', lease_end = :later", later=us_ago(-1000))
    assert len(claim(store, key)) == 1


@pytest.mark.parametrize(("scope", "name"), [("stage", "payment"), ("agent", AGENT), ("account", LOGIN)])
def test_a_pause_holds_back_paying_but_never_questions_nor_telling(store: Store, scope: str, name: str) -> None:
    keys = [put(store), put(store, Step.ASK), put(store, Step.TELL, generation=0)]
    write(store, control.pause, scope, name, "盘点", "ops", now())
    assert {row.step for row in claim(store, *keys)} == {Step.ASK, Step.TELL}
    write(store, control.resume, scope, name)
    assert {row.step for row in claim(store, *keys, owner=OTHER)} == {Step.PAY}


def test_a_pause_of_notification_holds_back_telling(store: Store) -> None:
    keys = [put(store), put(store, Step.ASK), put(store, Step.TELL, generation=0)]
    write(store, control.pause, "stage", "notification", "盘点", "ops", now())
    assert {row.step for row in claim(store, *keys)} == {Step.PAY, Step.ASK}


@pytest.mark.parametrize(("scope", "name"), [("agent", AGENT), ("account", LOGIN)])
def test_a_pause_of_a_party_does_not_hold_back_its_settlement(store: Store, scope: str, name: str) -> None:
    key = put(store, Step.SETTLE)
    write(store, control.pause, scope, name, "盘点", "ops", now())
    assert len(write(store, work.take, [key])) == 1


def test_a_row_brought_forward_while_its_holder_finishes_it_is_not_lost(store: Store) -> None:
    put(store, Step.TELL, generation=0)
    write(store, work.remove, ["o1:0:tell"])
    write(store, lambda tx: work.bring_forward(tx, "o1", Step.TELL, urgency=now(), due_at=None))
    assert count(store, "work") == 1


def test_a_pause_of_somebody_else_holds_nothing_back(store: Store) -> None:
    key = put(store)
    for scope, name in (("stage", "settlement"), ("agent", "other"), ("account", "other")):
        write(store, control.pause, scope, name, "盘点", "ops", now())
    assert len(claim(store, key)) == 1


def test_a_pause_also_holds_back_steps_that_are_one_transaction(store: Store) -> None:
    key = put(store, Step.SETTLE)
    write(store, control.pause, "stage", "settlement", "盘点", "ops", now())
    assert write(store, work.take, [key]) == []
    write(store, control.resume, "stage", "settlement")
    assert len(write(store, work.take, [key])) == 1
    assert count(store, "work") == 0


def test_the_most_urgent_is_first(store: Store) -> None:
    for number, minutes in (("o1", 20), ("o2", 5), ("o3", 10)):
        write(store, work.add, number, 1, Step.PAY, urgency=now() + timedelta(minutes=minutes))
    rows = claim(store, *(f"{number}:1:pay" for number in ("o1", "o2", "o3")))
    assert [row.order_no for row in rows] == ["o2", "o3", "o1"]


def test_a_row_given_back_is_due_at_its_time_and_counts_its_tries(store: Store) -> None:
    key = put(store)
    (row,) = claim(store, key)
    assert write(store, work.again, row, now() + SOON, "Unreachable")
    assert claim(store, key) == []
    sql(store, "UPDATE work SET due_at = :past", past=us_ago(1))
    (next_row,) = claim(store, key)
    assert (next_row.tries, next_row.deaths) == (1, 0), "a row given back tells of no death"
    assert next_row.first_failed_at is not None
    assert write(store, work.again, next_row, now(), None, counts=False)
    assert value(store, "SELECT tries FROM work") == 1


def test_finishing_a_row_deletes_it_once(store: Store) -> None:
    (row,) = claim(store, put(store))
    assert write(store, work.finish, row)
    assert not write(store, work.finish, row)
    assert count(store, "work") == 0


def test_work_that_changed_while_it_was_done_is_due_again(store: Store) -> None:
    key = put(store, Step.TELL, generation=0)
    (row,) = claim(store, key)
    moment = now()
    write(store, work.bring_forward, "o1", Step.TELL, urgency=moment, due_at=None)
    assert claim(store, key, owner=OTHER) == [], "it is still being done"
    done = store.write(lambda tx: work.finish(tx, row))
    assert (done.value, done.wakes) == (False, {key: "notification"})
    (newer,) = claim(store, key, owner=OTHER)
    assert newer.version == row.version + 1
    assert write(store, work.finish, newer)


def test_work_that_changed_while_it_was_put_off_keeps_its_new_time(store: Store) -> None:
    """The callback failed and goes again in an hour; meanwhile there is something newer to tell, now."""
    key = put(store, Step.TELL, generation=0)
    (row,) = claim(store, key)
    moment = now()
    write(store, work.bring_forward, "o1", Step.TELL, urgency=moment, due_at=None)
    done = store.write(lambda tx: work.again(tx, row, now() + timedelta(hours=1), "500"))
    assert done.wakes == {key: "notification"}
    assert len(claim(store, key)) == 1


def test_bringing_forward_makes_a_row_where_there_is_none(store: Store) -> None:
    moment = now()
    done = store.write(lambda tx: work.bring_forward(tx, "o1", Step.TELL, urgency=moment, due_at=None))
    assert done.wakes == {"o1:0:tell": "notification"}
    assert len(claim(store, "o1:0:tell")) == 1


def test_a_row_born_claimed_belongs_to_its_maker(store: Store) -> None:
    write(store, work.add, "o1", 1, Step.ASK, urgency=now(), lease=(WORKER, LEASE_S))
    assert claim(store, "o1:1:ask", owner=OTHER) == []
    (row,) = read(store, work.find, ["o1:1:ask"])
    assert row.fence == 1
    assert write(store, work.finish, row)


def test_what_waits_for_an_account_is_due_when_it_is_freed(store: Store) -> None:
    key = put(store)
    (row,) = claim(store, key)
    write(store, work.again, row, now() + SOON, None, counts=False, waits_for=LOGIN)
    assert claim(store, key) == []
    write(store, work.account_freed, [LOGIN])
    (row,) = claim(store, key)
    assert row.tries == 0


def test_suspects_are_counted_before_they_are_touched_again(store: Store) -> None:
    key = put(store)
    write(store, suspects.count, [key, "unknown:1:pay"])
    assert write(store, suspects.deaths_of, [key, "unknown:1:pay"]) == {key: 1}
    write(store, control.pause, "stage", "payment", "盘点", "ops", now())
    write(store, suspects.count, [key])
    write(store, control.resume, "stage", "payment")
    assert write(store, suspects.deaths_of, [key]) == {key: 1}, "what nobody can touch killed nobody"


def test_a_row_is_there_once_per_order_generation_and_step(store: Store) -> None:
    put(store)
    with pytest.raises(Exception, match=r"(?i)unique"):
        put(store)


def test_what_fails_in_a_savepoint_forgets_its_wakes(store: Store) -> None:
    def fails(tx: Transaction) -> None:
        work.add(tx, "o1", 1, Step.SETTLE, urgency=now())
        raise LookupError

    def attempt(tx: Transaction) -> None:
        work.add(tx, "o1", 1, Step.PAY, urgency=now())
        with pytest.raises(LookupError), tx.savepoint():
            fails(tx)

    done = store.write(attempt)
    assert done.wakes == {"o1:1:pay": "payment"}
    assert count(store, "work") == 1


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("o1:2:pay", ("o1", 2, Step.PAY)),
        ("a:b:0:tell", ("a:b", 0, Step.TELL)),
        ("o1:2:dance", None),
        ("o1:x:pay", None),
        ("o1", None),
    ],
)
def test_a_key_tells_its_parts(key: str, parts: tuple[str, int, Step] | None) -> None:
    assert work.split_key(key) == parts
