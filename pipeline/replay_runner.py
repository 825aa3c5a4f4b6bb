"""Runs replay jobs: dry runs in small parts, replays one by one at each job's rate. Several may run at a time."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from pipeline import operations_jobs
from pipeline.operations_import import Rules
from pipeline.operations_jobs import ItemFailed
from pipeline.ports import Clock
from pipeline.stage import Executor
from pipeline.store import replay_jobs
from pipeline.store.engine import Store, StoreUnavailable

log = structlog.get_logger()

TICK_S = 0.2
TROUBLE_S = 5.0
ROUND_S = 0.5  # of one job, then the next has its turn


class ReplayRunner:
    """`store` takes what becomes due straight to the relay (`Store.impatient`)."""

    def __init__(self, store: Store, executor: Executor, rules: Rules, clock: Clock) -> None:
        self._store, self._executor, self._rules, self._clock = store, executor, rules, clock
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until stopped. What a round could not do, a later one does."""
        while not self._stopping.is_set():
            try:
                more = await self._executor.run(self.round)
                wait_s = 0.0 if more else TICK_S
            except StoreUnavailable as error:
                log.warning("replay_jobs_wait_for_database", error=str(error))
                wait_s = TROUBLE_S
            except Exception:
                log.exception("replay_round_failed")
                wait_s = TROUBLE_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    def round(self) -> bool:
        """Everything that is due, half a second for each job at most. True: there is more, at once. Raises StoreUnavailable."""
        rests = [self._turn(job.id, job.state) for job in self._store.read(replay_jobs.live)]
        return any(rests)

    def _turn(self, job_id: int, state: str) -> bool:
        until = self._clock.monotonic() + ROUND_S
        work = self._check if state == "checking" else self._replay
        while work(job_id):
            if self._stopping.is_set() or self._clock.monotonic() >= until:
                return True
        return False

    def _check(self, job_id: int) -> bool:
        return self._store.write(
            lambda tx: operations_jobs.check_some(tx, job_id, self._rules, operations_jobs.CHECKS_AT_ONCE)
        ).value

    def _replay(self, job_id: int) -> bool:
        try:
            return self._store.write(lambda tx: operations_jobs.step(tx, job_id, self._rules)).value
        except ItemFailed as failed:
            log.exception("replay_failed", job=failed.job_id, place=failed.place)
            gave_up = failed
        self._store.write(lambda tx: operations_jobs.give_up(tx, gave_up))
        return True
