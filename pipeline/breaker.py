"""The circuit breaker of an upstream: shared by all workers through the database (DESIGN section 5.8).

It opens only on failures to reach the upstream from several accounts without a success between; while it is open nothing
is claimed, and one elected worker asks with a read-only call whether the upstream is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from pipeline.errors import Upstream, UpstreamError
from pipeline.stage import Executor
from pipeline.store import attempts, control
from pipeline.store.clock import now
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.store.types import seconds_us

log = structlog.get_logger()

ACCOUNTS_TO_OPEN = 3


class Breaker:
    """What one payment worker knows of one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        probe: Callable[[], Awaitable[None]],
        store: Store,
        executor: Executor,
        *,
        probe_s: float,
        window_s: float,
    ) -> None:
        self.upstream = upstream
        self._probe = probe
        self._store, self._executor = store, executor
        self._probe_s, self._window_s = probe_s, window_s
        self._failed_accounts: set[str] = set()
        self._opening: asyncio.Task[None] | None = None
        self.is_open = False

    def succeeded(self) -> None:
        """The upstream answered, whatever it said."""
        self._failed_accounts.clear()

    def failed(self, login: str, detail: str) -> None:
        """The upstream could not be reached on behalf of this account."""
        self._failed_accounts.add(login)
        if len(self._failed_accounts) >= ACCOUNTS_TO_OPEN and not self.is_open:
            self.is_open = True
            self._opening = asyncio.get_running_loop().create_task(self._open(detail))

    async def _open(self, detail: str) -> None:
        log.warning("breaker_opened", upstream=self.upstream, detail=detail)
        try:
            await self._executor.run(
                lambda: self._store.write(lambda tx: control.open_breaker(tx, self.upstream, detail, self._probe_s))
            )
        except StoreUnavailable as error:
            log.warning("breaker_not_shared", upstream=self.upstream, error=str(error))

    async def watch(self) -> None:
        """Follow the shared state and probe while it is open; runs until cancelled."""
        while True:
            await asyncio.sleep(self._probe_s)
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("breaker_state_unknown", upstream=self.upstream, error=str(error))

    async def look(self) -> None:
        """One round: read the shared state; if it is open and this worker is elected, probe. Raises StoreUnavailable."""
        opened = await self._executor.run(lambda: self._store.read(control.open_breakers))
        self.is_open = self.upstream in opened
        if not self.is_open:
            return
        elected = await self._executor.run(
            lambda: self._store.write(lambda tx: control.elected_to_probe(tx, self.upstream, self._probe_s)).value
        )
        if not elected:
            return
        try:
            await self._probe()
        except UpstreamError as error:
            log.info("breaker_probe_failed", upstream=self.upstream, detail=error.detail)
            return
        await self._executor.run(lambda: self._store.write(self._close))
        self._failed_accounts.clear()
        self.is_open = False
        log.warning("breaker_closed", upstream=self.upstream)

    def _close(self, tx: Transaction) -> None:
        count_outage(tx, self._window_s)
        if control.close_breaker(tx, self.upstream) is not None:
            control.wake_stage(tx, "payment")


def count_outage(tx: Transaction, window_s: float) -> None:
    """Leave the time with a breaker open out of the windows of questions, up to now. Two open at once count once."""
    since = control.uncounted_outage(tx)
    if since is not None:
        attempts.leave_out(tx, since, seconds_us(window_s))
        control.outage_counted(tx, now(tx))
