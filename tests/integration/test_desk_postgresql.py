"""The dead-letter desk on a real PostgreSQL: lists, groups and jobs; the other dialect, and two who act at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from pipeline import operations
from pipeline.clock import WallClock
from pipeline.executors import InlineExecutor
from pipeline.operations_errors import Refused
from pipeline.operations_import import rules_of
from pipeline.reasons import Reason
from pipeline.replay_runner import ReplayRunner
from pipeline.settings import Settings
from pipeline.store.engine import Store, open_store
from pipeline.store.migrate import upgrade
from pipeline.store.queries_abnormal import abnormal, page_of_abnormal
from pipeline.store.queries_letters import (
    LetterFilter,
    all_letters,
    count_letters,
    groups_of_letters,
    list_letters,
    page_of_letters,
)
from pipeline.store.queries_replays import RESULTS, job, jobs_of_letter, page_of_items, page_of_jobs
from pipeline.vault import KeyRing
from tests.unit.console_data import PRICE_FEN, Orders

AGENT, BOB = "xcslw", "human:bob"


class Desk:
    def __init__(self, store: Store) -> None:
        self.store, self.keys, self.vault = store, KeyRing.generate(), KeyRing.generate()
        store.write(
            lambda tx: operations.add_agent(
                tx, AGENT, "https://agent.example/told", None, self.keys.public, BOB, allow_http=False
            )
        )
        self.orders = Orders(store, AGENT, self.vault.public)
        self.orders.set_up()

    def runner(self) -> ReplayRunner:
        return ReplayRunner(self.store, InlineExecutor(), rules_of(Settings(), self.keys), WallClock())

    def job(self, *ids: int) -> int:
        job_id = self.store.write(lambda tx: operations.make_job(tx, BOB, None if ids else LetterFilter(), ids)).value
        self.runner().round()
        return job_id

    def start(self, job_id: int) -> int:
        return self.store.write(lambda tx: operations.start_job(tx, job_id, BOB, 100.0)).value


@pytest.fixture
def desk(fresh_database: str) -> Iterator[Desk]:
    upgrade(fresh_database)
    store = open_store(fresh_database, WallClock())
    try:
        yield Desk(store)
    finally:
        store.close()


def test_every_list_of_the_desk_reads(desk: Desk) -> None:
    numbers = [desk.orders.held_unpaid(reason) for reason in (Reason.NOT_SENT, Reason.NOT_SENT, Reason.HOLD_EXPIRED)]
    order_no = desk.orders.abnormal()
    now = desk.store.clock.now()
    every = LetterFilter(
        "payment", "not_sent", AGENT, "open", numbers[0][:5], now - timedelta(days=1), now + timedelta(days=1),
        now - timedelta(days=1), now + timedelta(days=1), failed_again=False,
    )  # fmt: skip
    read = desk.store.read
    first = read(lambda tx: page_of_letters(tx, every, limit=1))
    second = read(lambda tx: page_of_letters(tx, every, first.next, limit=1))
    assert [row["order_no"] for row in (*first.rows, *second.rows)] == numbers[:2]
    assert second.next is None
    assert read(lambda tx: count_letters(tx, every)) == (2, 2 * PRICE_FEN)
    assert read(lambda tx: groups_of_letters(tx, every))[0]["letters"] == 2
    assert len(list(all_letters(desk.store, LetterFilter(state=None), limit=2))) == 4
    assert read(lambda tx: list_letters(tx, LetterFilter(failed_again=True))) == []
    assert [row["order_no"] for row in read(page_of_abnormal).rows] == [order_no]
    assert (read(lambda tx: abnormal(tx, order_no)) or {})["proposal"] is None


def test_a_job_is_checked_run_and_read(desk: Desk) -> None:
    for reason in (Reason.NOT_SENT, Reason.HOLD_EXPIRED, Reason.NOT_SENT):
        desk.orders.held_unpaid(reason)
    job_id = desk.job()
    assert desk.start(job_id) == 2
    runner = desk.runner()
    while (desk.store.read(lambda tx: job(tx, job_id)) or {})["state"] != "done":
        runner.round()
    found = desk.store.read(lambda tx: job(tx, job_id))
    assert found is not None
    assert (found["total"], found["replayed"], found["ineligible"], found["failed_again"]) == (3, 2, 1, 0)
    for result in (None, *RESULTS):
        desk.store.read(lambda tx, result=result: page_of_items(tx, job_id, result))  # type: ignore[misc] # bound per result
    assert desk.store.read(page_of_jobs).rows[0]["id"] == job_id
    letter = desk.store.read(lambda tx: page_of_items(tx, job_id)).rows[0]["id"]
    assert [item["job"] for item in desk.store.read(lambda tx: jobs_of_letter(tx, letter))] == [job_id]


def test_a_job_over_nothing_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused, match="没有符合条件的死信"):
        desk.job()


def test_of_two_jobs_started_at_once_each_dead_letter_waits_in_one(desk: Desk) -> None:
    for _ in range(3):
        desk.orders.held_unpaid(Reason.NOT_SENT)
    jobs = [desk.job(), desk.job()]
    waits: list[int] = []
    begin = threading.Barrier(2)

    def go(job_id: int) -> None:
        begin.wait()
        try:
            waits.append(desk.start(job_id))
        except operations.Refused:
            waits.append(0)

    threads = [threading.Thread(target=go, args=(job_id,)) for job_id in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0, 3]


def test_two_who_run_jobs_make_each_replay_once(desk: Desk) -> None:
    numbers = [desk.orders.held_unpaid(Reason.NOT_SENT) for _ in range(6)]
    job_id = desk.job()
    desk.start(job_id)

    def go() -> None:
        runner = desk.runner()
        while (desk.store.read(lambda tx: job(tx, job_id)) or {})["state"] != "done":
            runner.round()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (desk.store.read(lambda tx: job(tx, job_id)) or {})["replayed"] == 6
    assert {desk.orders.purchase(number).generation for number in numbers} == {2}
