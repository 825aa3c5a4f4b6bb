"""Replaying many dead letters as a job: dry run first, at its rate by the clock passed in, stopped half way, never twice."""

# long: one desk with dead letters serves them all

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import operations, operations_jobs, operations_replay, replay_runner
from pipeline.executors import InlineExecutor
from pipeline.operations import NotFound, Refused
from pipeline.reasons import Reason
from pipeline.replay_runner import ReplayRunner
from pipeline.store import callbacks, dead_letters, history, orders, work
from pipeline.store.acts import ActFilter, list_acts
from pipeline.store.engine import Presence, Transaction
from pipeline.store.queries import Json
from pipeline.store.queries_letters import LetterFilter
from pipeline.store.queries_replays import job, jobs_of_letter, page_of_items
from pipeline.store.work import Step
from tests.contract.store_subjects import HandClock
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, House, console_at

BOB, ANN = "human:bob", "human:ann"


class StillClock(HandClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self._began = super().now()

    def now(self) -> datetime:
        return self._began + self._ahead


class Desk:
    """A house with dead letters, and whoever runs jobs in it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.orders = Orders(house.store, AGENT, house.desk.vault_key)
        self.orders.set_up()
        self.runner = self.new_runner()

    def new_runner(self) -> ReplayRunner:
        """As after a restart: nothing is known but what the database holds."""
        return ReplayRunner(self.house.store, InlineExecutor(), self.house.desk.replay_rules, self.house.clock)

    def letters(self, count: int, reason: Reason = Reason.NOT_SENT) -> list[int]:
        """Dead letters of that many orders; their ids."""
        numbers = [self.orders.held_unpaid(reason) for _ in range(count)]
        return [one.id for one in self.house.read(lambda tx: dead_letters.open_of(tx, *numbers))]

    def checked(self, wanted: LetterFilter | None = None, ids: tuple[int, ...] = ()) -> int:
        job_id: int = self.house.write(lambda tx: operations.make_job(tx, BOB, wanted, ids))
        self.runner.round()
        return job_id

    def start(self, job_id: int, rate: float = 1.0, agreed: str | None = None) -> int:
        def act(tx: Transaction) -> int:
            tx.presence = Presence("operator", "192.0.2.7")
            return operations.start_job(tx, job_id, BOB, rate, agreed)

        waits: int = self.house.write(act)
        return waits

    def job(self, job_id: int) -> Json:
        found: Json = self.house.read(lambda tx: job(tx, job_id))
        return found

    def items(self, job_id: int, result: str | None = None) -> list[Json]:
        rows: list[Json] = self.house.read(lambda tx: page_of_items(tx, job_id, result)).rows
        return rows

    def generation(self, letter_id: int) -> int:
        def find(tx: Transaction) -> int:
            order_no = dead_letters.by_ids(tx, [letter_id])[0].order_no
            return int(orders.load(tx, [order_no])[order_no].generation)

        count: int = self.house.read(find)
        return count

    def told(self, letter_id: int) -> None:
        """The agent took payStatus 2."""

        def deliver(tx: Transaction) -> None:
            order_no = dead_letters.by_ids(tx, [letter_id])[0].order_no
            pending = callbacks.latest_pending(tx, order_no)
            assert pending is not None
            callbacks.record_call(tx, pending.id, 200, '{"ret":true}', delivered=True)
            work.remove(tx, [work.work_key(order_no, 0, Step.TELL)])

        self.house.write(deliver)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with console_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}", tmp_path, clock=StillClock()) as house:
        yield Desk(house)


def test_a_dry_run_says_of_each_what_a_replay_would_do_and_changes_nothing(desk: Desk) -> None:
    good, (expired,) = desk.letters(2), desk.letters(1, Reason.HOLD_EXPIRED)
    job_id = desk.checked(LetterFilter())
    found = desk.job(job_id)
    assert (found["state"], found["total"], found["eligible"], found["ineligible"]) == ("checked", 3, 2, 1)
    assert [one["id"] for one in desk.items(job_id, "refused")] == [expired]
    assert found["refusals"][0]["letters"] == 1
    desk.runner.round()
    assert [desk.generation(one) for one in good] == [1, 1]


def test_a_round_says_whether_there_is_more_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_runner, "ROUND_S", 0.0)
    monkeypatch.setattr(operations_jobs, "CHECKS_AT_ONCE", 2)
    desk.letters(3)
    job_id: int = desk.house.write(lambda tx: operations.make_job(tx, BOB, LetterFilter(), ()))
    assert desk.runner.round()  # it was cut short: a runner that waited now would be slower than the rate asks for
    assert not desk.runner.round()
    desk.start(job_id, rate=1.0)
    assert desk.runner.round()
    assert not desk.runner.round()  # the next one's turn is a second away


def test_replays_are_made_at_the_rate_and_no_faster(desk: Desk) -> None:
    ids = desk.letters(6)
    job_id = desk.checked(LetterFilter(reason="not_sent"))
    assert desk.start(job_id, rate=2.0) == 6
    done = []
    for _ in range(4):
        desk.runner.round()
        desk.runner.round()
        done.append(desk.job(job_id)["replayed"])
        desk.house.clock.move(0.5)
    assert done == [1, 2, 3, 4]
    desk.house.clock.move(3600)  # nobody ran for an hour: that hour is not made up for at once
    desk.runner.round()
    assert desk.job(job_id)["replayed"] == 5
    desk.house.clock.move(1)
    desk.runner.round()
    found = desk.job(job_id)
    assert (found["state"], found["replayed"], found["waiting"]) == ("done", 6, 0)
    assert {desk.generation(one) for one in ids} == {2}


def test_a_job_stopped_half_way_leaves_the_rest_as_it_was(desk: Desk) -> None:
    ids = desk.letters(4)
    job_id = desk.checked(LetterFilter())
    desk.start(job_id)
    for _ in range(2):
        desk.runner.round()
        desk.house.clock.move(1)
    desk.house.write(lambda tx: operations.stop_job(tx, job_id, ANN))
    desk.house.clock.move(10)
    desk.runner.round()
    found = desk.job(job_id)
    assert (found["state"], found["stopped_by"], found["replayed"], found["left_alone"]) == ("stopped", ANN, 2, 2)
    assert sorted(desk.generation(one) for one in ids) == [1, 1, 2, 2]
    with pytest.raises(Refused, match="over"):
        desk.house.write(lambda tx: operations.stop_job(tx, job_id, ANN))
    again = desk.checked(LetterFilter())  # what was left can go into another job
    assert desk.start(again) == 2


def test_a_restart_goes_on_where_it_was_and_replays_nothing_twice(desk: Desk) -> None:
    ids = desk.letters(3)
    job_id = desk.house.write(lambda tx: operations.make_job(tx, BOB, LetterFilter()))
    desk.new_runner().round()
    desk.start(job_id)
    for _ in range(3):
        desk.new_runner().round()
        desk.house.clock.move(1)
    assert desk.job(job_id)["state"] == "done"
    assert {desk.generation(one) for one in ids} == {2}


def test_two_who_run_jobs_share_the_rate(desk: Desk) -> None:
    desk.letters(4)
    job_id = desk.checked(LetterFilter())
    desk.start(job_id)
    other = desk.new_runner()
    for runner in (desk.runner, other, desk.runner, other):
        runner.round()
    assert desk.job(job_id)["replayed"] == 1


def test_guards_hold_at_the_moment_of_each_replay(desk: Desk) -> None:
    first, second = desk.letters(2)
    job_id = desk.checked(ids=(first, second))
    desk.start(job_id)
    desk.house.write(lambda tx: operations.discard(tx, first, "不要了", ANN))
    for _ in range(2):
        desk.runner.round()
        desk.house.clock.move(1)
    by_id = {one["id"]: one for one in desk.items(job_id)}
    assert (by_id[first]["result"], by_id[second]["result"]) == ("refused", "replay")
    assert "已丢弃" in by_id[first]["why"]


def test_one_dead_letter_waits_in_one_job_at_a_time(desk: Desk) -> None:
    first, second = desk.letters(2)
    one, two = desk.checked(ids=(first,)), desk.checked(ids=(first, second))
    desk.start(one)
    assert desk.start(two) == 1
    left = {item["id"]: item for item in desk.items(two)}[first]
    assert (left["state"], left["why"]) == ("left", "已在另一个重放任务中等待")
    assert [item["job"] for item in desk.house.read(lambda tx: jobs_of_letter(tx, first))] == [two, one]


def test_what_the_agent_was_told_needs_its_agreement(desk: Desk) -> None:
    told, untold = desk.letters(2)
    desk.told(told)
    job_id = desk.checked(ids=(told, untold))
    assert (desk.job(job_id)["told"], desk.job(job_id)["told_first_at"] is None) == (1, False)
    with pytest.raises(Refused, match="agreement_missing"):
        desk.start(job_id, agreed="  ")
    desk.start(job_id, agreed="王经理 14:05 电话同意")
    desk.runner.round()
    desk.house.clock.move(1)
    desk.runner.round()
    assert desk.job(job_id)["replayed"] == 2
    order_no = desk.items(job_id)[0]["order_no"]
    lines = [line["detail"] for line in desk.house.read(lambda tx: history.story(tx, order_no))]
    assert any(line.get("agreed") == "王经理 14:05 电话同意" for line in lines)


def test_an_agent_told_after_the_dry_run_is_not_overrun(desk: Desk) -> None:
    (one,) = desk.letters(1)
    job_id = desk.checked(ids=(one,))
    desk.start(job_id)
    desk.told(one)
    desk.runner.round()
    (item,) = desk.items(job_id)
    assert (item["result"], desk.generation(one)) == ("refused", 1)
    assert item["why"].startswith("agreement_missing")


def test_what_failed_again_after_its_replay_is_shown(desk: Desk) -> None:
    (one,) = desk.letters(1)
    job_id = desk.checked(ids=(one,))
    desk.start(job_id)
    desk.runner.round()
    desk.house.clock.move(5)
    assert desk.job(job_id)["failed_again"] == 0
    order_no = desk.items(job_id)[0]["order_no"]
    desk.orders.end(order_no, Reason.NOT_SENT)
    assert (desk.job(job_id)["failed_again"], [item["id"] for item in desk.items(job_id, "failed_again")]) == (1, [one])
    assert desk.items(job_id)[0]["purchase_state"] == "held_unpaid"


def test_a_defect_in_one_replay_stops_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = desk.letters(2)
    job_id = desk.checked(LetterFilter())
    desk.start(job_id)
    replay = operations_replay.replay

    def broken(tx: Transaction, letter_id: int, *given: Any, **more: Any) -> Any:
        if letter_id == first:
            dead_letters.move(tx, first, "open", "discarded")
            raise ZeroDivisionError
        return replay(tx, letter_id, *given, **more)

    monkeypatch.setattr(operations_replay, "replay", broken)
    for _ in range(3):
        desk.runner.round()
        desk.house.clock.move(1)
    by_id = {one["id"]: one for one in desk.items(job_id)}
    assert (by_id[first]["result"], by_id[second]["result"]) == ("failed", "replay")
    assert desk.house.read(lambda tx: dead_letters.by_ids(tx, [first])[0].state) == "open"
    assert desk.job(job_id)["state"] == "done"


def test_the_audit_log_names_who_started_the_job_and_from_where(desk: Desk) -> None:
    (one,) = desk.letters(1)
    job_id = desk.checked(ids=(one,))
    desk.start(job_id)
    desk.runner.round()
    rows = desk.house.read(lambda tx: history_of(tx, "dead_letters.replay"))
    assert [(row["actor"], row["role"], row["origin"], row["detail"]["job"]) for row in rows] == [
        (BOB, "operator", "192.0.2.7", job_id)
    ]


def history_of(tx: Transaction, action: str) -> list[Json]:
    return list_acts(tx, ActFilter(action=action)).rows


def test_what_can_not_be_done_is_refused_with_a_reason(desk: Desk) -> None:
    with pytest.raises(Refused, match="nothing_chosen"):
        desk.checked(LetterFilter(reason="poison"))
    with pytest.raises(Refused, match="nothing_chosen"):
        desk.checked()
    with pytest.raises(NotFound):
        desk.start(99)
    (expired,) = desk.letters(1, Reason.HOLD_EXPIRED)
    unchecked = desk.house.write(lambda tx: operations.make_job(tx, BOB, LetterFilter()))
    with pytest.raises(Refused, match="not_checked"):
        desk.start(unchecked)
    desk.runner.round()
    with pytest.raises(Refused, match="bad_rate"):
        desk.start(unchecked, rate=1000)
    with pytest.raises(Refused, match="nothing_to_do"):
        desk.start(unchecked)
    assert desk.job(unchecked)["state"] == "checked"
    assert desk.generation(expired) == 1
