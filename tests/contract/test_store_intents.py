"""The group commit of intents on both databases: one transaction for many, served by deadline, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from pipeline.executors import InlineExecutor
from pipeline.intents import IntentWriter, Recorded, Unclear
from pipeline.store import attempts
from pipeline.store.attempts import HOLD_TAKEN, NO_FUNDS, STOPPED, Intent, Refusal
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from tests.contract.store_subjects import (
    count,
    fund,
    paying,
    procurement_and_in_flight,
    worker,
    write,
)

FEN = 1000
Answer = Recorded | Refusal | BaseException


@pytest.fixture
def store(store: Store) -> Store:
    write(store, worker)
    return store


def intents(store: Store, number: int) -> list[Intent]:
    """Attempts right before their intent; the first one's deadline is the latest."""
    made = [write(store, paying, f"o{n}", hold=f"E{n}", fen=FEN).intent for n in range(number)]
    return [intent._replace(urgency=intent.urgency - timedelta(minutes=n)) for n, intent in enumerate(made)]


def record(
    store: Store, wanted: Sequence[Intent], follow_up: Callable[[Transaction, Sequence[Intent]], None]
) -> list[Answer]:
    async def run() -> list[Answer]:
        writer = IntentWriter(store, InlineExecutor(), store.clock, follow_up)
        return list(await asyncio.gather(*(writer.record(intent) for intent in wanted), return_exceptions=True))

    return asyncio.run(run())


def nothing_more(_tx: Transaction, _intents: Sequence[Intent]) -> None:
    """The intents alone."""


def test_many_intents_are_one_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, fund, 10 * FEN)
    wanted = intents(store, 10)
    commits: list[Any] = []
    commit = store.engine.dialect.do_commit

    def counted(connection: Any) -> None:
        commits.append(connection)
        commit(connection)

    monkeypatch.setattr(store.engine.dialect, "do_commit", counted)
    answers = record(store, wanted, nothing_more)
    assert all(isinstance(answer, Recorded) for answer in answers)
    assert len(commits) == 1
    monkeypatch.undo()
    assert procurement_and_in_flight(store) == (0, 10 * FEN)


def test_where_the_fund_cannot_serve_all_the_soonest_deadlines_are_served(store: Store) -> None:
    write(store, fund, 3 * FEN + 1)
    answers = record(store, intents(store, 5), nothing_more)
    assert [answer == NO_FUNDS for answer in answers] == [True, True, False, False, False]
    assert procurement_and_in_flight(store) == (1, 3 * FEN)


def test_each_is_told_what_became_of_it(store: Store) -> None:
    write(store, fund, 10 * FEN)
    first, stopped, taken = intents(store, 3)
    write(store, attempts.close_open, stopped.purchase_id, "paused")
    later = taken._replace(held_order_no=first.held_order_no, urgency=first.urgency + timedelta(minutes=1))
    answers = record(store, [first, stopped, later], nothing_more)
    assert isinstance(answers[0], Recorded)
    assert answers[1:] == [STOPPED, HOLD_TAKEN]


def test_what_follows_an_intent_is_written_with_it_only(store: Store) -> None:
    write(store, fund, 2 * FEN)
    followed: list[str] = []
    wanted = intents(store, 3)
    record(store, wanted, lambda _tx, done: followed.extend(intent.order_no for intent in done))
    assert sorted(followed) == ["o1", "o2"], "the soonest deadlines, and not the one without funds"


def test_a_batch_that_breaks_is_nobodys_intent(store: Store) -> None:
    write(store, fund, 2 * FEN)

    def breaks(_tx: Transaction, _intents: Sequence[Intent]) -> None:
        raise StoreUnavailable("gone")

    answers = record(store, intents(store, 2), breaks)
    assert all(isinstance(answer, Unclear) for answer in answers)
    assert count(store, "attempts", "submitted_at IS NOT NULL") == 0
    assert procurement_and_in_flight(store) == (2 * FEN, 0)


def test_one_intent_that_can_not_be_written_does_not_take_the_others_with_it(store: Store) -> None:
    write(store, fund, 2 * FEN)
    wanted = intents(store, 2)

    def breaks_one(_tx: Transaction, intents: Sequence[Intent]) -> None:
        if wanted[0] in intents:
            raise LookupError("a defect")

    answers = record(store, wanted, breaks_one)
    assert answers[0] == "failed"
    assert isinstance(answers[1], Recorded)
    assert count(store, "attempts", "submitted_at IS NOT NULL") == 1
    assert procurement_and_in_flight(store) == (FEN, FEN)


@pytest.mark.parametrize("stored", [True, False])
def test_a_commit_whose_answer_was_lost_is_read_again(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    write(store, fund, 2 * FEN)
    wanted = intents(store, 2)
    commit = store.engine.dialect.do_commit

    def lost(connection: Any) -> None:
        monkeypatch.undo()
        if stored:
            commit(connection)
        raise store.engine.dialect.loaded_dbapi.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(store.engine.dialect, "do_commit", lost)
    answers = record(store, wanted, nothing_more)
    assert [type(answer) for answer in answers] == [Recorded if stored else Unclear] * 2
