"""The running parts of a process: a stage, the relay with the dead-letter desk. Each starts, stops taking work, and finishes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol

import structlog

from pipeline.broker.topology import STAGES, dead_letter_queue_of
from pipeline.cli import assembly
from pipeline.cli.assembly import AnyRunner, NotificationOutside, PaymentOutside
from pipeline.cli.house import House, agent_caller
from pipeline.heartbeat import Heartbeat, new_worker_id
from pipeline.ports import AgentCaller
from pipeline.runner import Ports
from pipeline.stage import MAX_BATCH
from pipeline.store import control
from pipeline.store.engine import StoreUnavailable
from pipeline.transaction_runner import IntakeRunner, TransactionRunner
from pipeline.vault import KeyRing, Sealer

log = structlog.get_logger()

# A thread that comes back from the database waits for the interpreter this long while the loop has calls in hand (Python's own:
# 5 ms), statement after statement.
SWITCH_S = 0.0005
CAREFUL_S = 60.0  # after an unclean death: long enough to meet again what may have caused it


class Part(Protocol):
    """One running part of a process."""

    name: str

    async def start(self) -> None: ...

    def stop(self) -> None:
        """Take no more work; `finish` awaits what is in hand."""

    async def finish(self, within_s: float) -> None: ...

    def ready(self) -> bool: ...

    def connections(self) -> Mapping[str, bool]:
        """What it reaches of database and broker, as far as it needs them: for the metrics."""


class StagePart:
    """A stage with its runner, heartbeat and, for payment, its breakers."""

    def __init__(
        self,
        house: House,
        stage: str,
        outside: PaymentOutside | None,
        keys: KeyRing | None,
        caller: AgentCaller | None = None,
    ) -> None:
        """`outside` is what the payment stage talks to; `caller` what notification does, over HTTP unless given."""
        self.name = stage
        self._house, self._outside, self._keys, self._caller = house, outside, keys, caller
        self._worker = new_worker_id(stage)
        self._heartbeat: Heartbeat | None = None
        self._runner: AnyRunner | None = None
        self._ports: Ports | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Register the incarnation and begin. Raises StoreUnavailable."""
        house, settings = self._house, self._house.settings
        if not settings.embedded:  # there one thread writes, and everything else would only change places more often
            sys.setswitchinterval(SWITCH_S)
        done = await house.executor.run(
            lambda: house.store.write(lambda tx: control.register_worker(tx, self._worker, self.name, settings.lease_s))
        )
        careful = done.value > 0
        house.learn_crew(await house.executor.run(lambda: house.store.read(control.crew)))
        self._heartbeat = Heartbeat(
            house.heartbeat_store(), self._worker, self.name, settings.lease_s, house.tick.ago, house.learn_crew
        )
        self._heartbeat.start()
        self._ports = house.ports(self.name)
        self._runner, watchers = self._build(self._ports, careful=careful)
        if careful:
            log.warning("careful_after_unclean_death", stage=self.name, dead_incarnations=done.value)
            asyncio.get_running_loop().call_later(CAREFUL_S, self._be_normal)
        self._tasks = [asyncio.ensure_future(self._runner.run())]
        self._tasks += [asyncio.ensure_future(watcher) for watcher in watchers]

    def _build(self, ports: Ports, *, careful: bool) -> tuple[AnyRunner, Sequence[Coroutine[Any, Any, None]]]:
        house, settings = self._house, self._house.settings
        if self.name == "intake":
            return assembly.intake_runner(settings, self._ring(), ports, careful=careful), ()
        if self.name == "credentials":
            return assembly.credentials_runner(ports, careful=careful), ()
        if self.name == "settlement":
            return assembly.settlement_runner(ports, careful=careful), ()
        if self.name == "notification":
            outside = NotificationOutside(self._caller or agent_caller(settings), self._ring())
            return assembly.notification_runner(settings, outside, ports, house.randomness, self._worker), ()
        if self._outside is None:
            raise ValueError("the payment stage needs 12306 and the cashier")
        parts = assembly.payment_parts(settings, self._outside, ports, house.randomness, self._worker)
        return parts.runner, [breaker.watch() for breaker in parts.breakers]

    def _ring(self) -> KeyRing:
        if self._keys is None:
            raise ValueError(f"the {self.name} stage needs the service keys")
        return self._keys

    def _be_normal(self) -> None:
        if isinstance(self._runner, IntakeRunner | TransactionRunner):
            self._runner.careful = False

    def stop(self) -> None:
        if self._runner is not None:
            self._runner.stop()

    async def finish(self, within_s: float) -> None:
        """Drain, then close the incarnation: what is still leased is free at once."""
        if not self._tasks:
            return
        _done, pending = await asyncio.wait({self._tasks[0]}, timeout=within_s)
        if pending:
            log.warning("drain_cut_short", stage=self.name, within_s=within_s)
        await _cancel(self._tasks)
        if self._heartbeat is not None:
            self._heartbeat.stop()
        house = self._house
        try:
            await house.executor.run(lambda: house.store.write(lambda tx: control.close_worker(tx, self._worker)))
        except StoreUnavailable as error:
            # What it still holds is free when its heartbeat's lease ends.
            log.warning("incarnation_not_closed", stage=self.name, error=str(error))

    def connections(self) -> dict[str, bool]:
        if self._runner is None or self._heartbeat is None or self._ports is None:
            return {"database": False, "broker": False}
        return {
            "database": self._runner.database_ok and self._heartbeat.healthy,
            "broker": self._ports.inbox.connected and self._ports.outbox.connected,
        }

    def ready(self) -> bool:
        return all(self.connections().values())

    def failed(self) -> BaseException | None:
        """What ended a task that should run for ever."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None


class RelayPart:
    """The relay and the dead-letter desk: one process runs both."""

    name = "relay"

    def __init__(self, house: House, service_key: Sealer) -> None:
        from consumers.dead_letter_desk import DeadLetterDesk
        from pipeline.eraser import Eraser
        from pipeline.relay import Relay, RelayTimes

        settings = house.settings
        times = RelayTimes(settings.relay_patience_s, settings.verify_window_s, settings.audit_every_s)
        self._outbox = house.outbox()
        self._queues = house.queues()
        tick_s = min(0.1, settings.relay_patience_s / 5)
        self._relay = Relay(
            self._outbox, house.store, house.executor, house.metrics, times, tick_s, self._queues, house.traces
        )
        inboxes = {stage: house.inbox(dead_letter_queue_of(stage), MAX_BATCH) for stage in STAGES}
        self._desk = DeadLetterDesk(house.store, house.executor, inboxes, service_key)
        self._eraser = Eraser(house.store, house.executor, settings.pii_days)
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.ensure_future(it.run()) for it in (self._relay, self._desk, self._eraser)]

    def stop(self) -> None:
        for part in (self._relay, self._desk, self._eraser):
            part.stop()

    async def finish(self, within_s: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
            await _cancel(self._tasks)
        if self._queues is not None:
            await asyncio.to_thread(self._queues.close)

    def connections(self) -> dict[str, bool]:
        return {"database": self._relay.database_ok, "broker": self._outbox.connected}

    def ready(self) -> bool:
        return self._relay.healthy and self._outbox.connected

    def failed(self) -> BaseException | None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)  # what broke was reported by `failed`
