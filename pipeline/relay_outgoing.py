"""What the relay publishes beside wake-ups: results for AM and dead letters for the desk, until the broker has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from pipeline.broker.messages import dead_letter_message, result_message
from pipeline.broker.port import Outbox
from pipeline.retry import wake_after
from pipeline.stage import Executor
from pipeline.store import dead_letters, results
from pipeline.store.clock import now
from pipeline.store.engine import Store, Transaction
from pipeline.traces import Dead, Traces, purchase_of
from schemas.dead_letter import DeadLetter

T = TypeVar("T")

LETTERS_AT_ONCE = 200
RESULTS_AT_ONCE = 500
MOST_RESULT_BATCHES = 10  # in one tick: the relay's other acts must have their turn


class Outgoings:
    """Every publish may be repeated. Raises StoreUnavailable, BrokerUnavailable, Unroutable."""

    def __init__(
        self, outbox: Outbox, store: Store, executor: Executor, patience_s: float, traces: Traces | None
    ) -> None:
        self._outbox, self._store, self._executor = outbox, store, executor
        self._patience_s, self._traces = patience_s, traces

    async def publish_results(self) -> None:
        """All there are, in batches: they are three for every order, and a rate of their own would bound the orders'."""
        for _ in range(MOST_RESULT_BATCHES):
            waiting = await self._read(lambda tx: results.unsent(tx, RESULTS_AT_ONCE))
            if not waiting:
                return
            parents = await self._traceparents([purchase_of(row.row_key) for row in waiting])
            await self._outbox.publish(
                [result_message(row.type, row.body.encode(), parents.get(purchase_of(row.row_key))) for row in waiting]
            )
            keys = [row.row_key for row in waiting]
            await self._write(lambda tx, keys=keys: results.mark_sent(tx, keys))  # type: ignore[misc] # bound per batch
            if len(waiting) < RESULTS_AT_ONCE:
                return

    async def publish_dead_letters(self) -> None:
        """What stages gave up, for the desk: each again, ever more rarely, until the desk has marked it seen."""
        waiting = await self._read(lambda tx: dead_letters.unseen(tx, LETTERS_AT_ONCE))
        if not waiting:
            return
        letters = [
            DeadLetter(
                id=row.uid,
                stage=row.stage,
                order_no=row.order_no,
                generation=row.generation,
                reason=row.reason,
                detail=row.detail[:4000],
                body_sealed=None,
                digest=None,
                at=row.last_at,
            )
            for row in waiting
        ]
        carried = await self._trace_dead(letters)
        await self._outbox.publish(
            [dead_letter_message(letter, carried.get(purchase_of(letter.id))) for letter in letters]
        )

        def mark(tx: Transaction) -> None:
            moment = now(tx)
            waits = [timedelta(seconds=wake_after(row.wakes, self._patience_s)) for row in waiting]
            dead_letters.published(tx, [(row.uid, moment + wait) for row, wait in zip(waiting, waits, strict=True)])

        await self._write(mark)

    async def _traceparents(self, purchase_ids: list[str]) -> Mapping[str, str]:
        traces = self._traces
        return {} if traces is None else await self._executor.run(lambda: traces.of(self._store, purchase_ids))

    async def _trace_dead(self, letters: Sequence[DeadLetter]) -> Mapping[str, str]:
        traces = self._traces
        if traces is None:
            return {}
        dead = [Dead(purchase_of(letter.id), letter.stage, letter.reason) for letter in letters]
        return await self._executor.run(lambda: traces.dead(self._store, dead))

    async def _write(self, task: Callable[[Transaction], None]) -> None:
        """One transaction; none of these makes anything due."""
        await self._executor.run(lambda: self._store.write(task))

    async def _read(self, task: Callable[[Transaction], T]) -> T:
        return await self._executor.run(lambda: self._store.read(task))
