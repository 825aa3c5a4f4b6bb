"""Builds broken on purpose, one rule each: the alarm that simulation is must go off for every one of them.

Guards that live in SQL are taken out of the statements as they are sent, wherever they are written.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from sqlalchemy import event
from sqlalchemy.engine import Engine

from consumers.payment_calls import PaymentCalls
from consumers.payment_items import Submitted
from consumers.settlement import Settlement
from pipeline.broker.port import Delivery
from pipeline.cli.simulation.lazy_relay import LazyRelay
from pipeline.cli.simulation.seeds import run_seed
from pipeline.intents import IntentWriter, Recorded, Unclear
from pipeline.ports import SubmitKind
from pipeline.runner import Runner
from pipeline.store import work
from pipeline.store.attempts import Intent
from pipeline.transaction_runner import IntakeRunner

Mutant = Callable[[], AbstractContextManager[Any]]


@contextmanager
def _statements(which: str, *guards: tuple[str, str]) -> Iterator[None]:
    """Statements that match `which` are sent with each guard replaced."""
    pattern = re.compile(which, re.DOTALL)

    def rewrite(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> tuple[str, Any]:
        if pattern.search(statement):
            for guard, instead in guards:
                statement = re.sub(guard, instead, statement)
        return statement, parameters

    event.listen(Engine, "before_cursor_execute", rewrite, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", rewrite)


INTENT = r"^(WITH .*)?UPDATE attempts SET [^W]*submitted_at="
NO_FENCE = (
    (r"attempts\.submitted_at IS NULL", "1"),
    (r"attempts\.concluded_at IS NULL", "1"),
    (r"attempts\.fence = ([^ )]+)", r"\1 IS NOT NULL"),
)


def a_wrong_clock_at_12306_is_believed() -> AbstractContextManager[Any]:
    """Whatever time it is there, its answers prove what they say."""
    return patch("consumers.payment_login.MAX_SKEW_S", 1e9)


@contextmanager
def no_guard_at_the_intent() -> Iterator[None]:
    """The intent is written whoever holds the attempt, open or not, and whatever its purchase is by now. One guard of these alone
    is not missed: the others hold, and behind them the unique indexes."""
    still_paying = ((r"purchases\.state = ([^ )]+)", r"\1 IS NOT NULL"), (r"purchases\.stop_at > ", "0 <> "))
    intent_of_purchase = r"^(WITH .*)?UPDATE purchases SET [^W]*intent_at="
    with _statements(INTENT, *NO_FENCE), _statements(intent_of_purchase, *still_paying):
        yield


def ended_in_spite_of_an_intent() -> AbstractContextManager[None]:
    """A purchase is ended as unpaid though its form may be under way."""
    return _statements(r"^(WITH .*)?UPDATE purchases SET", (r"purchases\.intent_at IS NULL", "1"))


@contextmanager
def row_deleted_before_the_commit() -> Iterator[None]:
    """Settlement deletes its work row in one transaction, and does its work in the next."""
    real, real_take = Settlement.transact, work.take
    settling = False

    def transact(self: Any, tx: Any, keys: Any) -> Any:
        nonlocal settling
        settling = True
        try:
            return real(self, tx, keys)
        finally:
            settling = False

    def take(tx: Any, keys: Any) -> Any:
        taken = real_take(tx, keys)
        if settling:
            below = tx.connection.connection.driver_connection
            below.execute("COMMIT")
            below.execute("BEGIN IMMEDIATE")
        return taken

    with patch.object(Settlement, "transact", transact), patch.object(work, "take", take):
        yield


def an_old_intent_is_sent() -> AbstractContextManager[Any]:
    """The last look before the first byte does not ask how old the intent is."""
    real = PaymentCalls._intent_and_submit

    async def patient(self: Any, *given: Any) -> Any:
        self._times = replace(self._times, intent_age_s=1e9)
        return await real(self, *given)

    return patch.object(PaymentCalls, "_intent_and_submit", patient)


def an_unclear_intent_is_sent() -> AbstractContextManager[Any]:
    """A commit whose answer was lost counts as done."""
    real = IntentWriter.record

    async def record(self: Any, intent: Intent) -> Any:
        try:
            return await real(self, intent)
        except Unclear:
            return Recorded(self._clock.monotonic())

    return patch.object(IntentWriter, "record", record)


def sent_again_after_a_timeout() -> AbstractContextManager[Any]:
    """What a transport that repeats requests would do."""
    real = PaymentCalls._intent_and_submit

    async def twice(self: Any, item: Any, prepared: Any) -> Any:
        result = await real(self, item, prepared)
        if isinstance(result, Submitted) and result.answer.kind is SubmitKind.UNKNOWN:
            line = await self._cashier.open()
            await line.submit(prepared.form, lambda: True)
        return result

    return patch.object(PaymentCalls, "_intent_and_submit", twice)


def unpaid_before_the_deadline() -> AbstractContextManager[Any]:
    """An answer "not paid" counts before the hold's deadline."""

    def hasty(**facts: Any) -> Intent:
        return Intent(**facts)._replace(final_after=facts["final_after"] - timedelta(hours=2))

    return patch("consumers.payment_calls.Intent", hasty)


def acked_before_the_commit() -> AbstractContextManager[Any]:
    """Messages are acked as they are taken."""
    real = Runner.take

    async def take(self: Any, most: int, within_s: float | None = None) -> list[Delivery]:
        deliveries = await real(self, most, within_s)
        if deliveries and isinstance(self, IntakeRunner):
            self.ports.inbox.ack(deliveries)
        return deliveries

    return patch.object(Runner, "take", take)


def no_relay() -> AbstractContextManager[Any]:
    """Nobody wakes what is due."""

    async def sleep_for_ever(self: LazyRelay) -> None:
        await asyncio.get_running_loop().create_future()

    return patch.object(LazyRelay, "tick", sleep_for_ever)


# Which seed caught which, on 2026-11-29. Points that come or go shift what a seed does, so others are tried too.
CAUGHT_BY: dict[Mutant, int] = {
    no_guard_at_the_intent: 184,
    ended_in_spite_of_an_intent: 3,
    row_deleted_before_the_commit: 128,
    an_old_intent_is_sent: 4,
    an_unclear_intent_is_sent: 112,
    sent_again_after_a_timeout: 4,
    unpaid_before_the_deadline: 4,
    acked_before_the_commit: 48,
    no_relay: 4,
    a_wrong_clock_at_12306_is_believed: 0,
}
STORMS_TRIED = range(4, 80, 4)  # storms: every fourth seed


def catching_seed(mutant: Mutant, orders: int = 20) -> int | None:
    """The first seed that finds this broken build; None if all pass."""
    seeds: list[int] = [CAUGHT_BY[mutant], *STORMS_TRIED]
    for seed in seeds:
        with mutant():
            noticed = not run_seed(seed, orders).ok
        if noticed:
            return seed
    return None
