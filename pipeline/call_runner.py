"""The runner of the stages with calls, payment and notification: claims as many as it has free places for, holds them all at
once, concludes in batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from pipeline import endings
from pipeline.broker.port import Delivery
from pipeline.runner import Ports, Runner, describe, keys_of
from pipeline.stage import MAX_BATCH, Calling
from pipeline.store import work
from pipeline.store.engine import Transaction

log = structlog.get_logger()

READY_POLL_S = 0.2


class CallRunner(Runner):
    """Drives a stage with calls. A place is taken from the claim until the result is recorded."""

    def __init__(self, stage: Calling, ports: Ports, places: int) -> None:
        super().__init__(stage.name, ports)
        self.stage = stage
        self.places = places
        self.in_flight: dict[asyncio.Task[None], Any] = {}
        self._results: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
        self._recording: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    async def run(self) -> None:
        """Claim until stopped, then drain. Raises what breaks either half: a worker that can't record must not go on."""
        concluding = asyncio.ensure_future(self._conclude_all())
        claiming = asyncio.ensure_future(self._claim_all())
        try:
            await asyncio.wait({concluding, claiming}, return_when=asyncio.FIRST_COMPLETED)
            (concluding if concluding.done() else claiming).result()
        finally:
            for half in (claiming, concluding):
                half.cancel()
            await asyncio.gather(claiming, concluding, return_exceptions=True)

    async def _claim_all(self) -> None:
        while not self.stopping.is_set():
            if not await self._may_claim():
                continue
            deliveries = await self.take(min(MAX_BATCH, self.places - len(self.in_flight)))
            if deliveries:
                await self._start(deliveries)
        await self._finish_calls()

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
        self.ports.inbox.ack(await self.take(MAX_BATCH, READY_POLL_S))

    async def _start(self, deliveries: Sequence[Delivery]) -> None:
        # What is in hand is not claimed again: a claim takes rows that are ours already for one whose commit was lost.
        in_hand = {item.row.purchase_id for item in self.in_flight.values()}
        keys = [key for key in keys_of(deliveries, self.stage_name) if key.rpartition(":")[0] not in in_hand]
        claimed = await self._claim(keys)
        # From here on the rows hold the work: no call ever meets the broker's consumer time-out or delivery limit.
        self.ports.inbox.ack(deliveries)
        log.info("claimed", stage=self.stage_name, messages=len(deliveries), claimed=len(claimed))
        for item in claimed:
            task = asyncio.ensure_future(self._call(item))
            self.in_flight[task] = item
            task.add_done_callback(self._done)

    async def _claim(self, keys: Sequence[str]) -> list[Any]:
        """Claim in one transaction; what fails is tried again in halves, and put off by itself."""
        if not keys:
            return []
        try:
            return await self.write(lambda tx: self.stage.prepare(tx, keys))
        except Exception as error:
            if len(keys) > 1:
                middle = len(keys) // 2
                return [*await self._claim(keys[:middle]), *await self._claim(keys[middle:])]
            log.exception("claim_failed", stage=self.stage_name, work_key=keys[0])
            failure = describe(error)
            try:
                await self.write(lambda tx: self._put_off(tx, keys[0], failure))
            except Exception:  # its row stays due: the relay wakes it again, ever more slowly
                log.exception("row_left_to_relay", stage=self.stage_name, work_key=keys[0])
            return []

    def _put_off(self, tx: Transaction, key: str, error: str) -> None:
        for row in work.unclaimed(tx, [key]):
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
