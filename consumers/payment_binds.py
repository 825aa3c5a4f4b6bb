"""Binding holds: what looks found is written to attempts and purchases, for many calls in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.group_commit import GroupCommit
from pipeline.stage import Executor
from pipeline.store import attempts, orders
from pipeline.store.attempts import HOLD_TAKEN, STOPPED, HoldTaken, Refusal
from pipeline.store.engine import Store, Transaction
from pipeline.store.purchases import FoundHold

Bind = tuple[str, FoundHold]  # an attempt's id, and what its look found


class HoldBinder:
    """One per payment worker."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store, self._executor = store, executor
        self._group: GroupCommit[Bind, Refusal | None] = GroupCommit(self._commit)

    async def bind(self, attempt_id: str, found: FoundHold) -> Refusal | None:
        """Bind hold number and deadline to attempt and purchase; why that can't be. Raises StoreUnavailable."""
        return await self._group.do((attempt_id, found))

    async def _commit(self, binds: list[Bind]) -> Sequence[Refusal | None]:
        try:
            done = await self._executor.run(lambda: self._store.write(lambda tx: bind_all(tx, binds)))
        except HoldTaken:
            if len(binds) > 1:
                raise  # the group tries halves: a savepoint for each that goes well would cost two round trips
            return [HOLD_TAKEN]
        return done.value


def bind_all(tx: Transaction, binds: Sequence[Bind]) -> list[Refusal | None]:
    """The attempts first, then their purchases; why one was not bound, in the order of `binds`. Raises HoldTaken."""
    refused = attempts.bind_holds(tx, [(attempt_id, found.held_order_no) for attempt_id, found in binds])
    bound = orders.bind_holds(tx, [found for attempt_id, found in binds if attempt_id not in refused])
    return [refused.get(attempt_id) or (None if found.purchase_id in bound else STOPPED) for attempt_id, found in binds]
