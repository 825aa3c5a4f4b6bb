"""Acts that compete for a purchase, each a transaction, and the means to stage them statement by statement."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from pipeline import endings
from pipeline.reasons import Reason
from pipeline.store import attempts, orders
from pipeline.store.engine import Store, Transaction
from tests.contract.store_subjects import Paying

PATIENCE_S = 20.0

Act = Callable[[Transaction], Any]


class Step:
    """A transaction that stops between its statements until it is told to go on."""

    def __init__(self) -> None:
        self._reached, self._go = threading.Event(), threading.Event()

    def stop_here(self) -> None:
        self._reached.set()
        assert self._go.wait(PATIENCE_S), "nobody let it go on"

    def reached(self) -> None:
        assert self._reached.wait(PATIENCE_S), "it never got there"

    def go(self) -> None:
        self._go.set()


@contextmanager
def at_once() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def until_somebody_waits(store: Store) -> None:
    """Return once a transaction waits for another one's lock."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    pause = threading.Event()
    for _ in range(int(PATIENCE_S * 100)):
        if store.read(lambda tx: tx.run(query).scalar_one()):
            return
        pause.wait(0.01)
    raise AssertionError("nobody waits")


def intends(subject: Paying) -> Act:
    return lambda tx: attempts.record_intent(tx, subject.intent)


def ends(purchase_id: str) -> Act:
    """What the relay does at `stop_at`, and a request that withdraws."""

    def end(tx: Transaction) -> bool:
        found = orders.load_purchases(tx, [purchase_id])[purchase_id]
        return endings.end_before_intent(tx, found, Reason.REQUEST_EXPIRED, "", stage="payment", actor="test")

    return end


def then_stops(act: Act, step: Step) -> Act:
    def run(tx: Transaction) -> Any:
        result = act(tx)
        step.stop_here()
        return result

    return run


def runs(pool: ThreadPoolExecutor, store: Store, act: Act) -> Future[Any]:
    return pool.submit(lambda: store.write(act).value)


def meet(store: Store, first: Act, second: Act) -> tuple[Any, Any]:
    """`second` comes while `first` is done and not committed, and must wait for it; what each gave."""
    step = Step()
    with at_once() as pool:
        one = runs(pool, store, then_stops(first, step))
        step.reached()
        other = runs(pool, store, second)
        until_somebody_waits(store)
        step.go()
        return one.result(PATIENCE_S), other.result(PATIENCE_S)


def let_loose(store: Store, rounds: list[tuple[Act, Act]]) -> list[tuple[Any, Any]]:
    """Run both acts of each round at the same moment, each on a connection of its own; their answers."""
    barrier = threading.Barrier(2)

    def side(number: int) -> list[Any]:
        answers, whim = [], random.Random(number)
        for acts in rounds:
            barrier.wait(PATIENCE_S)
            sum(range(whim.randrange(20_000)))  # now this one, now that one is first
            answers.append(store.write(acts[number]).value)
        return answers

    with at_once() as pool:
        sides = [pool.submit(side, number) for number in (0, 1)]
        return list(zip(*(each.result(120) for each in sides), strict=True))
