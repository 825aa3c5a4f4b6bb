"""The group commit of intents: many payments await one transaction (DESIGN section 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from pipeline.group_commit import GroupCommit
from pipeline.ports import Clock
from pipeline.stage import Executor
from pipeline.store import attempts
from pipeline.store.attempts import FAILED, Intent, Refusal
from pipeline.store.engine import CommitUnknown, DatabaseError, Store, StoreUnavailable, Transaction
from pipeline.store.intents import Contested, record_all

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The intent is stored and ours. `since` is the monotonic time from before its commit was sent."""

    since: float


class Unclear(Exception):
    """Nobody can say whether the intent is stored: nothing may be sent."""


class _NotWritten(Exception):
    """Something that nobody named broke before the commit: the transaction is rolled back, nothing of it is stored."""


Answer = Recorded | Refusal | Exception
Record = Callable[[Transaction, Sequence[Intent]], dict[str, Refusal]]


def _all(tx: Transaction, intents: Sequence[Intent]) -> dict[str, Refusal]:
    record_all(tx, intents)
    return {}


class IntentWriter:
    """Collects intents of concurrent calls and commits them together. One per payment worker."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        clock: Clock,
        follow_up: Callable[[Transaction, Sequence[Intent]], None],
    ) -> None:
        self._store, self._executor, self._clock = store, executor, clock
        self._follow_up = follow_up  # what else the intents' transaction writes
        self._group: GroupCommit[Intent, Recorded | Refusal] = GroupCommit(self._commit)

    async def record(self, intent: Intent) -> Recorded | Refusal:
        """Store the intent. Raises Unclear when the commit's answer was lost and can't be read again.

        Cancelled before its batch is taken, the intent is withdrawn; after that the caller must await (shield it).
        """
        return await self._group.do(intent)

    async def _commit(self, intents: list[Intent]) -> list[Answer]:
        since = self._clock.monotonic()
        try:
            refused = await self._executor.run(lambda: self._written(intents))
        except CommitUnknown:
            return await self._read_again(intents, since)
        except _NotWritten as broke:  # one that can't be written must not take the others with it
            if len(intents) > 1:
                middle = len(intents) // 2
                return await self._commit(intents[:middle]) + await self._commit(intents[middle:])
            order_no, purchase_id = intents[0].order_no, intents[0].purchase_id
            log.error("intent_failed", order=order_no, purchase=purchase_id, exc_info=broke.__cause__)
            return [FAILED]
        except Exception as error:  # noqa: BLE001 - the callers decide; a batch that broke is nobody's intent
            return [Unclear(str(error)) for _ in intents]
        return [refused.get(intent.attempt_id, Recorded(since)) for intent in intents]

    def _written(self, intents: Sequence[Intent]) -> dict[str, Refusal]:
        """By attempt id, why an intent was not recorded. All at once first: a savepoint would cost two round trips."""
        try:
            return self._store.write(lambda tx: self._record(tx, intents, _all)).value
        except Contested:
            return self._store.write(lambda tx: self._record(tx, intents, attempts.record_intents)).value

    def _record(self, tx: Transaction, intents: Sequence[Intent], record: Record) -> dict[str, Refusal]:
        try:
            refused = record(tx, intents)
            self._follow_up(tx, [intent for intent in intents if intent.attempt_id not in refused])
        except (DatabaseError, StoreUnavailable, Contested):
            raise
        except Exception as error:
            raise _NotWritten from error
        return refused

    async def _read_again(self, intents: Sequence[Intent], since: float) -> list[Answer]:
        pairs = [(intent.attempt_id, intent.fence) for intent in intents]
        try:
            stored = await self._executor.run(lambda: self._store.read(lambda tx: attempts.recorded(tx, pairs)))
        except Exception as error:  # noqa: BLE001 - every caller must get an answer
            return [Unclear(str(error)) for _ in intents]
        return [
            Recorded(since) if intent.attempt_id in stored else Unclear("the commit was lost") for intent in intents
        ]
