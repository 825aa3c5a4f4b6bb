"""The whole product on one thread in virtual time: store, broker, five stages, relay, and the sandbox they pay in.

Put together by the product's own `pipeline/cli/assembly.py`; every process is an `Incarnation` that can die or freeze.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pipeline.breaker import Breaker
from pipeline.broker.topology import queue_of
from pipeline.cli.assembly import (
    PROBE_S,
    NotificationOutside,
    PaymentOutside,
    credentials_runner,
    intake_runner,
    notification_runner,
    payment_parts,
    settlement_runner,
)
from pipeline.cli.simulation.am_side import AmSide
from pipeline.cli.simulation.incarnation import Act, Incarnation, Plan, ProcessDied, task_factory
from pipeline.cli.simulation.lazy_relay import LazyRelay
from pipeline.cli.simulation.shared_store import borrow_store, new_store
from pipeline.cli.simulation.touched_ports import Caller, Executor, Inbox, Outbox, Sessions, Till, WatchedWorld
from pipeline.cli.simulation.virtual_loop import run_virtual
from pipeline.heartbeat import BEATS_PER_LEASE, Heartbeat
from pipeline.metrics import Metrics
from pipeline.relay import RelayTimes
from pipeline.runner import Ports
from pipeline.settings import Settings
from pipeline.store import control, dead_letters
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.store.moments import watch_commits
from pipeline.wake_ups import prefetch_of
from schemas.dead_letter import DeadLetter, parse_dead_letter
from schemas.results import ResultEvent

STAGES = ("intake", "credentials", "payment", "settlement", "notification")
GAUGES_EVERY_S = 600.0  # nobody scrapes; each relay reads them in its first round


def _as_planned(_stage: str, _point: str) -> Act:
    return None


class House(AmSide):
    """Made inside a running virtual loop. `workers` is how many processes each stage has; `long`: days are to pass, so the
    relay ticks every 30 s and no heart beats (nobody may be killed)."""

    relay_tick_s = 1.0  # the product's 0.1 s would only make hours longer to simulate

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        seed: int = 1,
        workers: int = 1,
        long: bool = False,
        keep_store: bool = False,
    ) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.randomness = random.Random(seed)
        self.plan: Plan = _as_planned
        self.restart_after_s: float | None = 1.0  # None: who died stays dead
        self.alive: list[Incarnation] = []
        self.dead: list[Incarnation] = []
        self.breakers: dict[str, tuple[Breaker, Breaker]] = {}  # by worker
        self.letters: list[DeadLetter] = []  # what the desk drained
        self.results: list[ResultEvent] = []  # what AM drained
        self.crashes: list[str] = []  # what went wrong in the background
        self._workers, self._beats = workers, not long
        self._keep_store = keep_store
        self._runners: dict[str, Any] = {}
        self._main: dict[str, asyncio.Task[Any]] = {}
        self._incarnations = 0
        self._committed, self._news = asyncio.Event(), asyncio.Event()  # for `until`, and for relays
        self.commits = 0  # of transactions that changed something; heartbeats and who may probe are no news
        self._writer = ""
        self.store = self._open_store()

    def _open_store(self) -> Store:
        opened = new_store if self._keep_store else borrow_store
        store = opened(self.clock, self.settings.relay_patience_s)
        self._unwatch = watch_commits(store, self._note_commit)
        return store

    def _note_writer(self, owner: str) -> None:
        self._writer = owner

    def _note_commit(self, changed: bool) -> None:
        if changed and self._writer not in ("Breaker", "Heartbeat"):
            self.commits += 1
            self._committed.set()
            self._news.set()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(task_factory)  # type: ignore[arg-type]  # asyncio takes any such function
        loop.set_exception_handler(self._note_crash)
        for stage in (*STAGES, "relay"):
            for _ in range(self._workers):
                self.start_process(stage)

    def _new_life(self, stage: str) -> Incarnation:
        self._incarnations += 1
        life = Incarnation(stage, f"{stage}:{self._incarnations}", lambda s, p: self.plan(s, p), self._bury)
        self.alive.append(life)
        return life

    def start_process(self, stage: str) -> Incarnation:
        """A new incarnation of a stage, or of the relay."""
        life = self._new_life(stage)
        if stage == "relay":
            patience_s, window_s = self.settings.relay_patience_s, self.settings.verify_window_s
            times = RelayTimes(patience_s, window_s, gauges_every_s=GAUGES_EVERY_S)
            outbox, executor = Outbox(life, self.broker.outbox()), Executor(life, self._note_writer)
            tick_s = self.relay_tick_s if self._beats else 30.0
            relay = LazyRelay(outbox, self.store, executor, Metrics(), times, tick_s)
            relay.attach(self.store, lambda: self.commits, self._news, self.drain, window_s)
            self._runners[life.worker] = relay
            life.spawn(relay.run())
            return life
        lease_s = self.settings.lease_s if self._beats else 10_000_000.0
        try:
            life.at_once("register:before")
            died = self.write(lambda tx: control.register_worker(tx, life.worker, stage, lease_s))
            life.at_once("register:after")
        except ProcessDied:
            return life
        runner = self._runner_of(life, careful=died > 0)
        self._runners[life.worker] = runner
        self._main[life.worker] = life.spawn(runner.run())
        if self._beats:
            life.spawn(self._beat(life))
        return life

    def _runner_of(self, life: Incarnation, *, careful: bool) -> Any:
        stage, settings = life.stage, self.settings
        inbox = Inbox(life, self.broker.inbox(queue_of(stage), prefetch_of(stage)))
        outbox = Outbox(life, self.broker.outbox())
        ports = Ports(inbox, outbox, self.store, Executor(life, self._note_writer), self.clock_of(life), Metrics())
        if stage == "intake":
            return intake_runner(settings, self.service_keys.public, ports, careful=careful)
        if stage == "credentials":
            return credentials_runner(ports, careful=careful)
        if stage == "settlement":
            return settlement_runner(ports, careful=careful)
        if stage == "notification":
            agents = self.agents_in(WatchedWorld(life, self.world))
            outside = NotificationOutside(Caller(life, agents), self.service_keys)
            return notification_runner(settings, outside, ports, self.randomness, life.worker)
        world = WatchedWorld(life, self.world)
        timeout_s = settings.pay_timeout_s
        railway = Sessions(life, self.railway_in(world, timeout_s))
        cashier = Till(life, self.cashier_in(world, timeout_s))
        parts = payment_parts(
            settings, PaymentOutside(railway, cashier, self.vault), ports, self.randomness, life.worker
        )
        self.breakers[life.worker] = parts.breakers
        for breaker in parts.breakers:
            life.spawn(self._watch(breaker))
        return parts.runner

    async def _beat(self, life: Incarnation) -> None:
        heart = Heartbeat(self.store, life.worker, life.stage, self.settings.lease_s, lambda: 0.0, lambda _crew: None)
        while True:
            await asyncio.sleep(self.settings.lease_s / BEATS_PER_LEASE)
            if life.frozen:
                continue
            with contextlib.suppress(StoreUnavailable):
                life.at_once("heartbeat:before")
                self._note_writer("Heartbeat")
                heart.beat()
                life.at_once("heartbeat:after")

    async def _watch(self, breaker: Breaker) -> None:
        """`Breaker.watch`, spared the rounds in which nobody can have opened it."""
        seen = -1
        while True:
            await asyncio.sleep(PROBE_S if self._beats else 60.0)
            if breaker.is_open or seen != self.commits:
                seen, was_open = self.commits, breaker.is_open
                with contextlib.suppress(StoreUnavailable):
                    await breaker.look()
                if was_open != breaker.is_open:
                    self.commits += 1
                    self._news.set()

    def _bury(self, life: Incarnation) -> None:
        """The broker notices the death; the database is told nothing."""
        self.alive.remove(life)
        self.dead.append(life)
        inbox = getattr(getattr(self._runners.get(life.worker), "ports", None), "inbox", None)
        if isinstance(inbox, Inbox):
            inbox.inner.closed = True
            inbox.inner.give_back()
        if self.restart_after_s is not None:
            asyncio.get_running_loop().call_later(self.restart_after_s, self.start_process, life.stage)

    def kill(self, stage: str) -> None:
        """`kill -9` of every process of a stage; it comes back after `restart_after_s`."""
        for life in [life for life in self.alive if life.stage == stage]:
            life.kill()

    async def drain_process(self, stage: str) -> None:
        """A clean stop of a stage's processes, as at a deployment, and a start of new ones."""
        for life in [life for life in self.alive if life.stage == stage]:
            self._runners[life.worker].stop()
            await self._main[life.worker]
            self._close(life)
            life.kill()

    def _close(self, life: Incarnation) -> None:
        self.write(lambda tx: control.close_worker(tx, life.worker))

    def process(self, stage: str) -> Incarnation:
        return next(life for life in self.alive if life.stage == stage)

    async def stop(self) -> None:
        """End everything the way a machine does that loses power, then check that nothing went wrong unseen."""
        self.restart_after_s = None
        for life in list(self.alive):
            life.kill()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.sleep(0)
        self._unwatch()
        self.world.close()
        broken = [failure for life in self.dead for failure in life.failures]
        if self.crashes + broken:
            raise AssertionError(self.crashes + broken)

    def _note_crash(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ProcessDied):
            self.crashes.append(f"{context.get('message')}: {error!r}")

    async def until(self, true: Callable[[], bool], *, within_s: float = 4000.0) -> None:
        """Wait until something is true in the database; looked at after every commit."""
        try:
            async with asyncio.timeout(within_s):
                while not true():
                    self._committed.clear()
                    await self._committed.wait()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not true after {within_s} virtual seconds") from None

    async def rest(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.drain()

    def drain(self) -> None:
        """The dead-letter desk marks what it has seen, and AM reads its results."""
        for stage in STAGES:
            new = [parse_dead_letter(body) for body in self.broker.bodies(f"{queue_of(stage)}.dlq")]
            self.letters.extend(new)
            if new:
                self._mark_seen([letter.id for letter in new])
        self.results.extend(ResultEvent.model_validate_json(body) for body in self.broker.bodies("daifu.am"))

    def _mark_seen(self, ids: list[str]) -> None:
        self.write(lambda tx: dead_letters.mark_seen(tx, ids))

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        self._note_writer("")
        return self.store.write(work).value

    def read(self, work: Callable[[Transaction], Any]) -> Any:
        return self.store.read(work)


def simulate(scenario: Callable[[House], Awaitable[None]], **options: Any) -> None:
    """Run a scenario in a new house with one agent, and check the books at its end."""

    async def run() -> None:
        house = House(**options)
        house.start()
        house.add_agent()
        try:
            await scenario(house)
        finally:
            await house.stop()

    def coroutine() -> Coroutine[Any, Any, None]:
        return run()

    run_virtual(coroutine)
