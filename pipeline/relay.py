"""The relay: what time makes true. It wakes rows that are due and unclaimed, frees those whose holder is gone, ends purchases
at `stop_at` and windows of questions, and publishes results and dead letters until the broker has them.

Several relays may run; every act is a guarded write or a repeatable publish.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from pipeline import endings
from pipeline.auditor import Auditor
from pipeline.breaker import count_outage
from pipeline.broker.messages import wake_message, wake_messages
from pipeline.broker.port import BrokerUnavailable, Outbox, Unroutable
from pipeline.gauges import EVERY_S, Gauges, QueueWatch
from pipeline.metrics import Metrics
from pipeline.reasons import RULES, Outcome, Reason
from pipeline.relay_outgoing import Outgoings
from pipeline.retry import wake_after
from pipeline.stage import Executor
from pipeline.store import (
    attempts,
    callbacks,
    control,
    dead_letters,
    orders,
    relay_rounds,
    task_rounds,
    wakes,
    work,
)
from pipeline.store.engine import Row, Store, StoreUnavailable, Transaction
from pipeline.store.types import seconds_us
from pipeline.store.work import NewRow, Step
from pipeline.traces import Traces

log = structlog.get_logger()
T = TypeVar("T")

TICK_S = 0.1
MOST_PER_TICK = 200  # a backlog must not feed itself: the relay never wakes faster than this per tick
MENDS_EVERY = 50  # ticks
FORGET_WORKERS_S = 3600.0
PUT_OFF_TICKS = 300  # a purchase that can't be ended is a defect: tried again, but not in every round
ACTOR = "system:relay"


@dataclass(frozen=True, slots=True)
class RelayTimes:
    patience_s: float
    verify_window_s: float
    audit_every_s: float | None = None  # None: no audits
    gauges_every_s: float = EVERY_S


class Relay:
    """One relay process. `tick` does everything that is due once; `run` ticks until stopped."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        executor: Executor,
        metrics: Metrics,
        times: RelayTimes,
        tick_s: float = TICK_S,
        queues: QueueWatch | None = None,
        traces: Traces | None = None,
    ) -> None:
        """`queues` asks the broker how full its queues are, for the metrics; None where there is nothing to ask."""
        self._traces = traces
        self._outbox, self._store, self._executor = outbox, store, executor
        self._times, self._tick_s = times, tick_s
        self._gauges = Gauges(store, executor, metrics, outbox, queues, times.gauges_every_s)
        self._outgoing = Outgoings(outbox, store, executor, times.patience_s, traces)
        every_s = times.audit_every_s
        self._auditor = None if every_s is None else Auditor(store, executor, every_s)
        self.stopping = asyncio.Event()
        self.healthy = self.database_ok = True
        self._ticks = 0
        self._put_off: dict[str, int] = {}  # purchases that could not be ended: until which tick they are left alone

    def stop(self) -> None:
        self.stopping.set()

    async def run(self) -> None:
        while not self.stopping.is_set():
            try:
                await self.tick()
                self.database_ok = True
                self._say(healthy=True, error="")
            except (StoreUnavailable, BrokerUnavailable, Unroutable) as error:
                self.database_ok = not isinstance(error, StoreUnavailable)
                self._say(healthy=False, error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), self._tick_s if self.healthy else 10 * self._tick_s)

    def _say(self, *, healthy: bool, error: str) -> None:
        if healthy != self.healthy:
            log.warning("relay_resumed" if healthy else "relay_waits", error=error)
        self.healthy = healthy

    async def tick(self) -> None:
        """One round: every act that would find something, by itself, so that none stands in another's way, the
        wake-ups first.

        Raises StoreUnavailable at once; BrokerUnavailable or Unroutable when all acts were tried. The next round does the
        same again.
        """
        window_us = seconds_us(self._times.verify_window_s)
        due = await self._read(lambda tx: relay_rounds.due(tx, window_us))
        acts = [
            act
            for is_due, act in (
                (due.wake_ups, self._wake),
                (due.dead_holders, self._reap),
                (due.overdue, self._end_overdue),
                (due.windows, self._end_windows),
                (due.results or due.ends, self._outgoing.publish_results),
                (due.dead_letters or due.ends, self._outgoing.publish_dead_letters),
            )
            if is_due
        ]
        if self._ticks % MENDS_EVERY == 0:
            acts += [self._tell_untold, self._keep_tasks, self._forget]
        if self._auditor is not None:
            acts.append(self._auditor.audit)
        acts.append(self._gauges.read)
        self._ticks += 1
        trouble: BrokerUnavailable | Unroutable | None = None
        for act in acts:
            try:
                await act()
            except (BrokerUnavailable, Unroutable) as error:
                trouble = trouble or error
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("relay_act_failed", act=act.__name__)
        if trouble is not None:
            raise trouble

    async def _wake(self) -> None:
        due = await self._read(lambda tx: wakes.to_wake(tx, MOST_PER_TICK))
        by_stage: dict[str, list[tuple[str, int]]] = {}
        for key, stage, count in due:
            by_stage.setdefault(stage, []).append((key, count))
        missing: Unroutable | None = None
        for stage, rows in by_stage.items():
            try:
                # One by one: a worker of the version before this one reads only the first key of a message.
                await self._outbox.publish([wake_message(stage, key) for key, _count in rows])
            except Unroutable as error:  # this stage's queue is missing; the others have theirs
                missing = error
                continue
            waits = [(key, count, wake_after(count, self._times.patience_s)) for key, count in rows]
            await self._write(lambda tx, waits=waits: wakes.woken(tx, waits))  # type: ignore[misc] # bound per round
        if missing is not None:
            raise missing

    async def _reap(self) -> None:
        await self._write(wakes.reap)

    async def _end_overdue(self) -> None:
        """At `stop_at` every purchase without an intent ends held_unpaid, breaker open or not (DESIGN section 5.1)."""

        def end(tx: Transaction, row: Row[Any]) -> None:
            purchase = orders.load_purchases(tx, [row.id])[row.id]
            reason, detail = _reason_of(tx, row.order_no, row.generation)
            endings.end_before_intent(tx, purchase, reason, detail, stage="payment", actor=ACTOR)

        await self._each(lambda tx: orders.overdue(tx, MOST_PER_TICK), lambda row: str(row.id), end)

    async def _end_windows(self) -> None:
        """The window for questions is over without proof: a person's task (DESIGN section 5.5)."""
        window_us = seconds_us(self._times.verify_window_s)
        if await self._read(lambda tx: attempts.window_over(tx, window_us, 1)):
            # a breaker that is still open has left nothing out yet
            await self._write(lambda tx: count_outage(tx, self._times.verify_window_s))

        def end(tx: Transaction, row: Row[Any]) -> None:
            purchase = orders.load_purchases(tx, [row.purchase_id])[row.purchase_id]
            attempt = attempts.submitted(tx, [row.purchase_id])[row.purchase_id]
            detail = f"核实时限内没有得到12306和收银台的答复, 提问 {attempt.questions} 次"
            endings.conclude_abnormal(
                tx, purchase, attempt, Reason.OUTCOME_UNKNOWN, detail, actor=ACTOR, debited_fen=None
            )

        await self._each(
            lambda tx: attempts.window_over(tx, window_us, MOST_PER_TICK), lambda row: str(row.purchase_id), end
        )

    async def _each(
        self,
        find: Callable[[Transaction], list[Row[Any]]],
        name: Callable[[Row[Any]], str],
        end: Callable[[Transaction, Row[Any]], None],
    ) -> None:
        """End every purchase found, each in its own transaction: one that can't be ended must not hold up the others."""
        for row in await self._read(find):
            key = name(row)
            if self._put_off.get(key, 0) > self._ticks:
                continue
            try:
                await self._write(lambda tx, row=row: end(tx, row))  # type: ignore[misc] # bound per row
                self._put_off.pop(key, None)
            except (StoreUnavailable, BrokerUnavailable, Unroutable):
                raise
            except Exception:
                log.exception("purchase_not_ended", purchase=key)
                self._put_off[key] = self._ticks + PUT_OFF_TICKS

    async def _tell_untold(self) -> None:
        """An outcome nobody was going to tell gets its row back."""

        def tell(tx: Transaction) -> int:
            untold = callbacks.untold(tx, MOST_PER_TICK)
            work.bring_forward_all(tx, [NewRow(order_no, 0, Step.TELL) for order_no in untold])
            return len(untold)

        mended = await self._write(tell)
        if mended:
            log.warning("untold_outcomes_found", orders=mended)

    async def _keep_tasks(self) -> None:
        await self._write(task_rounds.keep)

    async def _forget(self) -> None:
        await self._write(lambda tx: control.forget_workers(tx, FORGET_WORKERS_S))
        traces = self._traces
        if traces is not None:
            await self._executor.run(lambda: traces.forget(self._store))

    async def _write(self, task: Callable[[Transaction], T]) -> T:
        """One transaction; what it makes due is published at once."""
        done = await self._executor.run(lambda: self._store.write(task))
        if done.wakes:
            await self._outbox.publish(wake_messages(done.wakes))
        return done.value

    async def _read(self, task: Callable[[Transaction], T]) -> T:
        return await self._executor.run(lambda: self._store.read(task))


def _reason_of(tx: Transaction, order_no: str, generation: int) -> tuple[Reason, str]:
    """What a stage gave up for, where that explains an unpaid end; otherwise the request simply expired."""
    for letter in dead_letters.open_of(tx, order_no):
        reason = Reason(letter.reason)
        if letter.generation == generation and RULES[reason].outcome in (None, Outcome.HELD_UNPAID):
            return reason, letter.detail
    return Reason.REQUEST_EXPIRED, ""
