"""The loop that drives every stage: take what is there, one transaction, one multiple ack right after it, one round of confirms.

No timer: while one batch commits the next gathers; one message when idle, hundreds under load. A batch that fails is tried
again in halves, so that one bad order blocks nobody. Database gone: it says so, waits, goes on with the same batch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from pipeline import endings
from pipeline.broker.messages import wake_message
from pipeline.broker.port import BrokerUnavailable, Delivery, Inbox, Outbox, Outgoing, Unroutable
from pipeline.metrics import Metrics
from pipeline.ports import Clock
from pipeline.stage import MAX_BATCH, Calling, Executor
from pipeline.store import work as work_rows
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from schemas.problems import InvalidMessage
from schemas.wakeup import parse_wakeup

log = structlog.get_logger()
T = TypeVar("T")

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
READY_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Ports:
    """What a runner runs on."""

    inbox: Inbox
    outbox: Outbox
    store: Store
    executor: Executor
    clock: Clock
    metrics: Metrics


class Runner:
    """Shared by all runners: transactions that wait for the database, wake-ups after the commit, the stop signal."""

    def __init__(self, stage_name: str, ports: Ports) -> None:
        self.stage_name = stage_name
        self.ports = ports
        self.stopping = asyncio.Event()
        self.database_ok = True

    def stop(self) -> None:
        """Take nothing more; `run` returns when what is in hand is finished."""
        self.stopping.set()

    async def take(self, most: int) -> list[Delivery]:
        """The next messages, or none when stopping."""
        taking = asyncio.ensure_future(self.ports.inbox.take(most))
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return taking.result() if taking.done() else []
        finally:
            stopping.cancel()
            if not taking.done():
                taking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await taking

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """One transaction; waits for the database for as long as it takes. Publishes the wake-ups after the commit."""
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
            await self.publish([wake_message(stage, key) for key, stage in done.wakes.items()])
            return done.value

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
        work: Callable[[Transaction, Sequence[T]], Any],
        alone: Callable[[Transaction, T, Exception], Any],
    ) -> None:
        """Run `work` on all items; what fails is tried again in halves, and `alone` records the one that fails by itself."""
        try:
            await self.write(lambda tx: work(tx, items))
        except Exception as error:
            if len(items) > 1:
                middle = len(items) // 2
                await self.in_halves(items[:middle], work, alone)
                await self.in_halves(items[middle:], work, alone)
                return
            log.exception("item_failed", stage=self.stage_name)
            failure = error
            await self.write(lambda tx: alone(tx, items[0], failure))


def keys_of(deliveries: Sequence[Delivery], stage_name: str) -> list[str]:
    """The distinct work keys these wake-ups name. A wake-up nobody can read is dropped: its row will wake again."""
    keys: dict[str, None] = {}
    for delivery in deliveries:
        try:
            keys[parse_wakeup(delivery.body)] = None
        except InvalidMessage as error:
            log.error("wakeup_unreadable", stage=stage_name, error=str(error))
    return list(keys)


class CallRunner(Runner):
    """Drives a stage with calls: claims as many as it has free places for, holds them all at once, concludes in batches."""

    def __init__(self, stage: Calling, ports: Ports, places: int) -> None:
        super().__init__(stage.name, ports)
        self.stage = stage
        self.places = places
        self.in_flight: dict[asyncio.Task[None], Any] = {}
        self._results: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
        self._recording: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    async def run(self) -> None:
        concluding = asyncio.ensure_future(self._conclude_all())
        try:
            while not self.stopping.is_set():
                if not await self._may_claim():
                    continue
                deliveries = await self.take(min(MAX_BATCH, self.places - len(self.in_flight)))
                if deliveries:
                    await self._start(deliveries)
            await self._finish_calls()
        finally:
            concluding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await concluding

    async def _may_claim(self) -> bool:
        if not self.stage.ready():
            await self._let_pass()
            return False
        if len(self.in_flight) < self.places:
            return True
        self._freed.clear()
        waits = {asyncio.ensure_future(self._freed.wait()), asyncio.ensure_future(self.stopping.wait())}
        _done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for waiting in pending:
            waiting.cancel()
        return False

    async def _let_pass(self) -> None:
        """Nothing may be claimed now. Wake-ups are acked unheeded, so that they don't pile up: their rows stay due, and get
        new ones when the breaker closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_POLL_S):
                self.ports.inbox.ack(await self.take(MAX_BATCH))

    async def _start(self, deliveries: Sequence[Delivery]) -> None:
        keys = keys_of(deliveries, self.stage_name)
        claimed: list[Any] = []

        def prepare(tx: Transaction, some: Sequence[str]) -> list[Any]:
            return self.stage.prepare(tx, some)

        async def claim(some: Sequence[str]) -> None:
            try:
                claimed.extend(await self.write(lambda tx: prepare(tx, some)))
            except Exception as error:
                if len(some) > 1:
                    middle = len(some) // 2
                    await claim(some[:middle])
                    await claim(some[middle:])
                    return
                log.exception("claim_failed", stage=self.stage_name, work_key=some[0])
                failure = describe(error)
                await self.write(lambda tx: self._put_off(tx, some[0], failure))

        await claim(keys)
        # From here on the rows hold the work: no call ever meets the broker's consumer time-out or delivery limit.
        self.ports.inbox.ack(deliveries)
        log.info("claimed", stage=self.stage_name, messages=len(deliveries), claimed=len(claimed))
        for item in claimed:
            task = asyncio.ensure_future(self._call(item))
            self.in_flight[task] = item
            task.add_done_callback(self._done)

    def _put_off(self, tx: Transaction, key: str, error: str) -> None:
        for row in work_rows.unclaimed(tx, [key]):
            endings.put_off(tx, row, error, actor=f"system:{self.stage_name}")

    def _done(self, task: asyncio.Task[None]) -> None:
        self.in_flight.pop(task, None)
        self._recording.discard(task)
        self._freed.set()

    async def _call(self, item: Any) -> None:
        started = self.ports.clock.now()
        attempt = getattr(item, "attempt_id", None)
        with structlog.contextvars.bound_contextvars(
            stage=self.stage_name, order=item.row.order_no, purchase=item.row.purchase_id, attempt=attempt
        ):
            try:
                result: Any = await self.stage.call(item)
                log.debug("called", result=type(result).__name__)
            except Exception as error:
                log.exception("call_failed")
                result = error
        self.ports.metrics.called(self.stage_name, started, self.ports.clock.now())
        task = asyncio.current_task()
        if task is not None:
            self._recording.add(task)
        done = asyncio.get_running_loop().create_future()
        self._results.put_nowait((item, (result, done)))
        await done  # a place is free only when its result is recorded
        self.ports.metrics.finished(self.stage_name, item.row.created_at, self.ports.clock.now())

    async def _conclude_all(self) -> None:
        while True:
            batch = [await self._results.get()]
            while not self._results.empty() and len(batch) < MAX_BATCH:
                batch.append(self._results.get_nowait())
            await self.in_halves(batch, self._conclude, self._conclude_failed)
            log.info("concluded", stage=self.stage_name, results=len(batch))
            for _item, (_result, done) in batch:
                if not done.done():
                    done.set_result(None)

    def _conclude(self, tx: Transaction, batch: Sequence[tuple[Any, Any]]) -> None:
        for item, (result, _done) in batch:
            if isinstance(result, Exception):
                self.stage.failed(tx, item, describe(result))
        self.stage.conclude(tx, [result for _item, (result, _done) in batch if not isinstance(result, Exception)])

    def _conclude_failed(self, tx: Transaction, pair: tuple[Any, Any], error: Exception) -> None:
        self.stage.failed(tx, pair[0], describe(error))

    async def _finish_calls(self) -> None:
        """Drain: what can be given back is given back, what can't is awaited. The caller bounds the time."""
        for task, item in list(self.in_flight.items()):
            if item.withdrawable and task not in self._recording and not task.done():
                task.cancel()
        while self.in_flight:
            await asyncio.wait(set(self.in_flight))
            await asyncio.sleep(0)  # the tasks' own callbacks take them out of `in_flight`


def describe(error: BaseException) -> str:
    """An exception in words that are safe to store: its type, never its message (it may quote what was being read)."""
    return f"{type(error).__module__}.{type(error).__qualname__}"
