"""The loop that drives every stage: take what is there, one transaction, one multiple ack right after it, one round of confirms.

No timer but intake's rest: while one batch commits the next gathers; one message when idle, hundreds under load. A batch that fails
is tried again in halves, so that one bad order blocks nobody. Database gone: it says so, waits, goes on with the same batch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog

from pipeline.broker.messages import ALONE, wake_messages
from pipeline.broker.port import BrokerUnavailable, Delivery, Inbox, Outbox, Outgoing, Unroutable
from pipeline.broker.topology import queue_of
from pipeline.metrics import Metrics
from pipeline.ports import Clock
from pipeline.stage import MAX_BATCH, Executor
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.traces import Traces, Worked
from pipeline.wake_ups import WakeUps, Woken

log = structlog.get_logger()
T = TypeVar("T")
R = TypeVar("R")

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
TELLING_AT_ONCE = 2  # rounds of confirms: one awaited, one that gathers behind it


@dataclass(frozen=True, slots=True)
class Ports:
    """What a runner runs on."""

    inbox: Inbox
    outbox: Outbox
    store: Store
    executor: Executor
    clock: Clock
    metrics: Metrics
    system: str = "memory"  # the broker's, as OpenTelemetry names it
    traces: Traces | None = None
    crew: Callable[[], Mapping[str, int]] = lambda: ALONE  # workers by stage, as far as they are known


class Runner:
    """Shared by all runners: transactions that wait for the database, wake-ups after the commit, the stop signal."""

    def __init__(self, stage_name: str, ports: Ports) -> None:
        self.stage_name = stage_name
        self.ports = ports
        self.stopping = asyncio.Event()
        self.database_ok = True
        self._wake_ups = WakeUps(stage_name)
        self._telling: set[asyncio.Future[None]] = set()
        metrics = ports.metrics
        self._critical_time = metrics.critical_time.labels(stage_name)
        self._process_time = metrics.process_time.labels(ports.system, "process", queue_of(stage_name), "")
        self._lease_conflicts = metrics.lease_conflicts.labels(stage_name)

    def finished(self, made_true_at: Sequence[datetime]) -> None:
        """Steps are over that were made true at these moments."""
        now = self.ports.clock.now()
        for moment in made_true_at:
            self._critical_time.observe(max(0.0, (now - moment).total_seconds()))

    def processed(self, began: float) -> None:
        """A batch that was delivered at `began`, by the monotonic clock, is acked."""
        self._process_time.observe(self.ports.clock.monotonic() - began)

    async def trace(self, work: Sequence[Worked]) -> None:
        """Tell the traces, where they are on, what was done."""
        traces = self.ports.traces
        if traces is not None and work:
            await self.ports.executor.run(lambda: traces.worked(self.ports.store, self.stage_name, work))

    def stop(self) -> None:
        """Take nothing more; `run` returns when what is in hand is finished."""
        self.stopping.set()

    async def take(self, most: int, within_s: float | None = None) -> list[Delivery]:
        """The next messages; none when stopping, or when nothing came in time."""
        return await self.unless_stopping(self.ports.inbox.take(most), within_s) or []

    async def unless_stopping(self, coming: Awaitable[T], within_s: float | None) -> T | None:
        """What comes; None when stopping, or when it did not come in time."""
        waiting = asyncio.ensure_future(coming)
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            waiting.cancel()  # has no effect on one that is done
        with contextlib.suppress(asyncio.CancelledError):
            return await waiting
        return None

    async def woken(self, most: int, within_s: float | None = None) -> Woken:
        """The next work keys that wake-ups name; none when stopping, or when nothing came in time."""
        if not self._wake_ups:
            self._wake_ups.add(await self.take(MAX_BATCH, within_s))
        return self._wake_ups.next(most)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """One transaction; waits for the database for as long as it takes. Its wake-ups go out after the commit."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                done = await self.ports.executor.run(lambda: self.ports.store.write(work))
            except StoreUnavailable as error:
                if self.database_ok:
                    log.warning("database_gone", stage=self.stage_name, error=str(error))
                self.database_ok = False
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                continue
            if not self.database_ok:
                log.warning("database_back", stage=self.stage_name)
            self.database_ok = True
            if done.lost:
                self._lease_conflicts.inc(done.lost)
            await self.tell(done.wakes)
            return done.value

    async def tell(self, wakes: Mapping[str, str]) -> None:
        """Publish the wake-ups of these rows (work key -> stage) while the next batch is worked on; waits only where too many
        are not confirmed yet."""
        if not wakes:
            return
        while len(self._telling) >= TELLING_AT_ONCE:
            await self._some_told(asyncio.FIRST_COMPLETED)
        self._telling.add(asyncio.ensure_future(self.publish(wake_messages(wakes, self.ports.crew()))))

    async def told(self) -> None:
        """Every wake-up is confirmed, or left to the relay."""
        while self._telling:
            await self._some_told(asyncio.ALL_COMPLETED)

    async def _some_told(self, which: str) -> None:
        done, _pending = await asyncio.wait(set(self._telling), return_when=which)
        self._telling -= done
        for each in done:
            each.result()  # what is no trouble of the broker's is a defect, and ends the worker as it would have at once

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish what the relay would publish later anyway: a broker that is gone delays, it loses nothing."""
        if not messages:
            return
        try:
            await self.ports.outbox.publish(messages)
        except (BrokerUnavailable, Unroutable) as error:
            log.warning("wakeups_left_to_relay", stage=self.stage_name, messages=len(messages), error=str(error))

    async def in_halves(
        self,
        items: Sequence[T],
        work: Callable[[Transaction, Sequence[T]], R],
        alone: Callable[[Transaction, T, Exception], Any],
        done: Callable[[R], None],
    ) -> None:
        """Run `work` on all items and give `done` what it returned once that is committed; what fails is tried again in halves, and
        `alone` records the one that fails by itself."""
        try:
            value = await self.write(lambda tx: work(tx, items))
        except Exception as error:
            if len(items) > 1:
                middle = len(items) // 2
                await self.in_halves(items[:middle], work, alone, done)
                await self.in_halves(items[middle:], work, alone, done)
                return
            log.exception("item_failed", stage=self.stage_name)
            failure = error
            try:
                await self.write(lambda tx: alone(tx, items[0], failure))
            except Exception:  # its row stays as it is: the relay wakes it again when its lease is over
                log.exception("item_left_to_relay", stage=self.stage_name)
            return
        done(value)


def describe(error: BaseException) -> str:
    """An exception in words that are safe to store: its type, never its message (it may quote what was being read)."""
    return f"{type(error).__module__}.{type(error).__qualname__}"
