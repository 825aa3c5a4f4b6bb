"""Binding holds: what looks found is written to attempts and purchases, for many calls in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.payment_items import PayItem
from consumers.payment_login import take_back_tries
from pipeline.group_commit import GroupCommit
from pipeline.stage import Executor
from pipeline.store import attempts, orders
from pipeline.store.attempts import HOLD_TAKEN, STOPPED, HoldTaken, Refusal
from pipeline.store.engine import Store, Transaction
from pipeline.store.purchases import FoundHold

Bind = tuple[PayItem, FoundHold]  # what was claimed, and what its look found


class HoldBinder:
    """One per payment worker."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store, self._executor = store, executor
        self._group: GroupCommit[Bind, Refusal | None] = GroupCommit(self._commit)

    async def bind(self, item: PayItem, found: FoundHold) -> Refusal | None:
        """Bind hold number and deadline to attempt and purchase, and forget the login tries of the account, which the look has
        shown to be open to us; why that can't be. Raises StoreUnavailable."""
        return await self._group.do((item, found))

    async def _commit(self, binds: list[Bind]) -> Sequence[Refusal | None]:
        try:
            done = await self._executor.run(lambda: self._store.write(lambda tx: bind_all(tx, binds)))
        except HoldTaken:
            if len(binds) > 1:
                raise  # the group tries halves: a savepoint for each that goes well would cost two round trips
            return [HOLD_TAKEN]
        for item, _found in binds:
            item.tries_owed = None
        return done.value


def bind_all(tx: Transaction, binds: Sequence[Bind]) -> list[Refusal | None]:
    """The accounts first, then the attempts, then their purchases, as claims take them; why one was not bound, in the order of
    `binds`. Raises HoldTaken."""
    take_back_tries(tx, [item for item, _found in binds])
    refused = attempts.bind_holds(tx, [(item.attempt_id, found.held_order_no) for item, found in binds])
    bound = orders.bind_holds(tx, [found for item, found in binds if item.attempt_id not in refused])
    return [refused.get(item.attempt_id) or (None if found.purchase_id in bound else STOPPED) for item, found in binds]
