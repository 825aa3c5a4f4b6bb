"""The runner of the stages with calls, payment and notification: claims as many as it has free places for, holds them all at
once, concludes in batches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from pipeline import setbacks
from pipeline.log import about
from pipeline.runner import Ports, Runner, describe
from pipeline.stage import MAX_BATCH, Calling
from pipeline.store import work
from pipeline.store.engine import Transaction
from pipeline.traced import noting_parts
from pipeline.traces import Part, Worked
from pipeline.wake_ups import Woken

log = structlog.get_logger()

READY_POLL_S = 0.2


@dataclass(slots=True, eq=False)
class _InHand:
    """One claimed item: its call, and what came of it once that has ended."""

    item: Any
    task: asyncio.Task[None] | None = None
    result: Any = None
    began: float = 0.0  # its call, in seconds since 1970
    parts: Sequence[Part] = ()  # of its call, where traces are on


class CallRunner(Runner):
    """Drives a stage with calls. A place is taken from the claim until the result is recorded."""

    def __init__(self, stage: Calling, ports: Ports, places: int) -> None:
        super().__init__(stage.name, ports)
        self.stage = stage
        self.places = places
        self._in_hand: dict[str, _InHand] = {}  # by purchase
        self._ended: deque[_InHand] = deque()  # called, not recorded yet
        self._some_ended = asyncio.Event()
        self._freed = asyncio.Event()
        self._call_time = ports.metrics.call_time.labels(stage.name)

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
        await self.told()

    async def _claim_all(self) -> None:
        while not self.stopping.is_set():
            if not await self._may_claim():
                continue
            woken = await self.woken(min(MAX_BATCH, self.places - len(self._in_hand)))
            if woken:
                await self._start(woken)
        await self._finish_calls()

    async def _may_claim(self) -> bool:
        if not self.stage.ready():
            await self._let_pass()
            return False
        if len(self._in_hand) < self.places:
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
        self.ports.inbox.ack((await self.woken(MAX_BATCH, READY_POLL_S)).deliveries)

    async def _start(self, woken: Woken) -> None:
        began = self.ports.clock.monotonic()
        # What is in hand is not claimed again: a claim takes rows that are ours already for one whose commit was lost.
        keys = [key for key in woken.keys if key.rpartition(":")[0] not in self._in_hand]
        claimed = await self._claim(keys)
        # From here on the rows hold the work: no call ever meets the broker's consumer time-out or delivery limit.
        self.ports.inbox.ack(woken.deliveries)
        self.processed(began)
        log.info("claimed", stage=self.stage_name, rows=len(keys), claimed=len(claimed))
        loop = asyncio.get_running_loop()
        for item in claimed:
            held = self._in_hand[item.row.purchase_id] = _InHand(item)
            held.task = loop.create_task(self._call(held))

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
            setbacks.put_off(tx, row, error, actor=f"system:{self.stage_name}")

    async def _call(self, held: _InHand) -> None:
        """One call, in a task and so in a context of its own. Nothing is awaited once it has a result: a drain can't undo it."""
        clock, item = self.ports.clock, held.item
        started, held.began = clock.monotonic(), clock.now().timestamp()
        if self.ports.traces is not None:
            held.parts = noting_parts()
        about(
            stage=self.stage_name,
            order=item.row.order_no,
            purchase=item.row.purchase_id,
            attempt=getattr(item, "attempt_id", None),
        )
        try:
            held.result = await self.stage.call(item)
        except Exception as error:
            log.exception("call_failed")
            held.result = error
        self._call_time.observe(clock.monotonic() - started)
        self._ended.append(held)
        self._some_ended.set()

    async def _conclude_all(self) -> None:
        while True:
            await self._some_ended.wait()
            batch = [self._ended.popleft() for _ in range(min(len(self._ended), MAX_BATCH))]
            if not self._ended:
                self._some_ended.clear()
            await self.in_halves(batch, self._conclude, self._conclude_failed, self.finished)
            log.info("concluded", stage=self.stage_name, results=len(batch))
            log.debug("concluded_orders", stage=self.stage_name, work_keys=[held.item.key for held in batch])
            for held in batch:
                self._forget(held)
            if self.ports.traces is not None:
                await self.trace([_worked(held, self.ports.clock.now().timestamp()) for held in batch])

    def _forget(self, held: _InHand) -> None:
        """Its place is free."""
        self._in_hand.pop(held.item.row.purchase_id, None)
        self._freed.set()

    def _conclude(self, tx: Transaction, batch: Sequence[_InHand]) -> list[datetime]:
        for held in batch:
            if isinstance(held.result, Exception):
                self.stage.failed(tx, held.item, describe(held.result))
        self.stage.conclude(tx, [held.result for held in batch if not isinstance(held.result, Exception)])
        return [held.item.row.created_at for held in batch]

    def _conclude_failed(self, tx: Transaction, held: _InHand, error: Exception) -> None:
        self.stage.failed(tx, held.item, describe(error))

    async def _finish_calls(self) -> None:
        """Drain: what can be given back is given back, what can't is awaited. The caller bounds the time."""
        # What was claimed just now begins first: a call cancelled before its first line could give nothing back.
        await asyncio.sleep(0)
        calls = {held.task: held for held in self._in_hand.values() if held.task is not None}
        for task, held in calls.items():
            if held.item.withdrawable and not task.done():
                task.cancel()
        if calls:
            await asyncio.wait(set(calls))
        while self._in_hand:
            self._freed.clear()
            await self._freed.wait()


def _worked(held: _InHand, ended: float) -> Worked:
    """For its purchase's trace; a callback's row is the order's, its item knows the generation."""
    row = held.item.row
    generation = getattr(held.item, "generation", row.generation)
    error = type(held.result).__name__ if isinstance(held.result, Exception) else ""
    return Worked(f"{row.order_no}:{generation}", row.step.value, held.began, ended, error, tuple(held.parts))
