"""The group commit of intents: many calls await one transaction (DESIGN section 5.3, spike-costs section 6).

No timer: while one batch commits, the next gathers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from pipeline.ports import Clock
from pipeline.stage import Executor
from pipeline.store import attempts
from pipeline.store.attempts import FAILED, Intent, Refusal
from pipeline.store.engine import CommitUnknown, DatabaseError, Store, StoreUnavailable, Transaction

log = structlog.get_logger()

MAX_INTENTS = 500


@dataclass(frozen=True, slots=True)
class Recorded:
    """The intent is stored and ours. `since` is the monotonic time from before its commit was sent."""

    since: float


class Unclear(Exception):
    """Nobody can say whether the intent is stored: nothing may be sent."""


@dataclass(slots=True)
class _Waiting:
    intent: Intent
    answer: asyncio.Future[Recorded | Refusal]


class IntentWriter:
    """Collects intents of concurrent calls and commits them together. One per payment worker."""

    def __init__(
        self, store: Store, executor: Executor, clock: Clock, follow_up: Callable[[Transaction, Intent], None]
    ) -> None:
        self._store, self._executor, self._clock = store, executor, clock
        self._follow_up = follow_up  # what else the intent's transaction writes
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def record(self, intent: Intent) -> Recorded | Refusal:
        """Store the intent. Raises Unclear when the commit's answer was lost and can't be read again.

        Cancelled before its batch is taken, the intent is withdrawn; after that the caller must await (shield it).
        """
        answer: asyncio.Future[Recorded | Refusal] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(intent, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._commit_all())
        return await answer

    async def _commit_all(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_INTENTS))]
            batch = [waiting for waiting in taken if not waiting.answer.cancelled()]
            # Where a fund can't serve all, the soonest deadline is served first. Funds in one order over all workers: two
            # that take the same two funds the other way round would end in a deadlock.
            batch.sort(key=lambda waiting: (waiting.intent.agent, waiting.intent.urgency, waiting.intent.attempt_id))
            await self._commit(batch)

    async def _commit(self, batch: list[_Waiting]) -> None:
        since = self._clock.monotonic()
        intents = [waiting.intent for waiting in batch]
        try:
            refusals = await self._executor.run(lambda: self._store.write(lambda tx: self._record(tx, intents)).value)
        except CommitUnknown:
            await self._read_again(batch, since)
            return
        except Exception as error:  # noqa: BLE001 - the callers decide; a batch that broke is nobody's intent
            for waiting in batch:
                _answer(waiting, Unclear(str(error)))
            return
        for waiting, refusal in zip(batch, refusals, strict=True):
            _answer(waiting, Recorded(since) if refusal is None else refusal)

    def _record(self, tx: Transaction, intents: list[Intent]) -> list[Refusal | None]:
        refusals: list[Refusal | None] = []
        for intent in intents:
            try:
                with tx.savepoint():
                    refusal = attempts.record_intent(tx, intent)
                    if refusal is None:
                        self._follow_up(tx, intent)
            except (DatabaseError, StoreUnavailable):
                raise
            except Exception:  # one that can't be written must not take the others with it
                log.exception("intent_failed", order=intent.order_no, purchase=intent.purchase_id)
                refusal = FAILED
            refusals.append(refusal)
        return refusals

    async def _read_again(self, batch: list[_Waiting], since: float) -> None:
        pairs = [(waiting.intent.attempt_id, waiting.intent.fence) for waiting in batch]
        try:
            stored = await self._executor.run(
                lambda: self._store.read(lambda tx: [attempts.is_recorded(tx, key, fence) for key, fence in pairs])
            )
        except Exception as error:  # noqa: BLE001 - every caller must get an answer
            for waiting in batch:
                _answer(waiting, Unclear(str(error)))
            return
        for waiting, known in zip(batch, stored, strict=True):
            _answer(waiting, Recorded(since) if known else Unclear("the commit was lost"))


def _answer(waiting: _Waiting, value: Recorded | Refusal | Exception) -> None:
    if waiting.answer.done():
        return
    if isinstance(value, Exception):
        waiting.answer.set_exception(value)
    else:
        waiting.answer.set_result(value)
