"""One seed's run: the house in a swarm of faults, watched by the oracle, then a phase without faults in which all must end."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from consumers.dead_letter_desk import DeadLetterDesk
from pipeline import ledger as postings
from pipeline.agent_asks import AgentAsk, AgentReply, DeskUnavailable
from pipeline.agent_desk import AgentDesk
from pipeline.broker.topology import dead_letter_queue_of
from pipeline.cli.assembly import limits_of
from pipeline.cli.simulation.askers import first_request
from pipeline.cli.simulation.customers import Crowd
from pipeline.cli.simulation.faults import PointFaults, Sky
from pipeline.cli.simulation.house import STAGES, House
from pipeline.cli.simulation.incarnation import Act, Incarnation, ProcessDied
from pipeline.cli.simulation.oracle import Oracle
from pipeline.cli.simulation.people import LONG_S, People
from pipeline.cli.simulation.publisher import Publisher
from pipeline.cli.simulation.slow_ports import Road, SlowAgents, SlowRailway, SlowTill
from pipeline.cli.simulation.swarm import Swarm, stream
from pipeline.cli.simulation.touched_ports import Executor, Inbox, Outbox
from pipeline.cli.simulation.trips import AGENT, PRICE_FEN
from pipeline.cli.simulation.virtual_broker import VirtualInbox
from pipeline.heartbeat import BEATS_PER_LEASE
from pipeline.operations import Rules
from pipeline.ports import AgentCaller, Cashier, Clock, Railway
from pipeline.railway.sandbox.world import World
from pipeline.stage import MAX_BATCH
from pipeline.store import audit, control, ledger
from pipeline.store.audit_checks import Scope
from pipeline.store.engine import Transaction
from pipeline.store.moments import break_statements
from schemas.results import ResultEvent

AGENTS = (AGENT, "agent2")
DOOR, DESK = "serve", "desk"
AUDIT_EVERY_S = 600.0
RESTARTS_S = (0.2, 1.0, 1.0, 15.0)
RELAY_AWAY_S = (5.0, 1_200.0)
ANSWER_WITHIN_S = 30.0
CLOCKS_WRONG_BY_S = (25.0, 1_500.0)  # at most: less than what counts as an outage, and more than any grace


class Trial(House):
    """The house of one seed."""

    relay_tick_s = 3.0

    def __init__(self, swarm: Swarm, orders: int, hours: float) -> None:
        self.swarm, self._orders, self._arrive_within_s = swarm, orders, hours * 3600.0
        self._desk: AgentDesk | None = None
        self._boxes: dict[str, list[VirtualInbox]] = {}  # of the dead-letter desk, by worker
        super().__init__(settings=swarm.settings, seed=swarm.seed, workers=swarm.workers)
        self._choices = stream(swarm.seed, "house")
        self.events = 0  # points passed
        self.topped_up_fen: Counter[str] = Counter()
        self.oracle = Oracle(self.world, self.store, self.clock, self.settings.intent_age_s)
        strikes, acts = (round(orders * each) for each in (swarm.strikes_per_order, swarm.acts_per_order))
        self.points = PointFaults(swarm, stream(swarm.seed, "points"), self.broker, strikes)
        self.sky = Sky(swarm, stream(swarm.seed, "sky"), self.broker, self.world, self.points, AGENTS)
        self.road = Road(swarm, stream(swarm.seed, "road"), self.oracle, self.world, self.run)
        self.crowd = Crowd(swarm, stream(swarm.seed, "crowd"), self.world, AGENTS)
        self.publisher = Publisher(self.broker.outbox(), self.clock, stream(swarm.seed, "am"))
        self.people = People(self, stream(swarm.seed, "people"), swarm.acts, acts)
        self.rules = Rules(limits_of(self.settings), self.settings.pay_margin_s, self.service_keys)
        self._clocks = stream(swarm.seed, "clocks")
        self.plan = self._pass
        self._beaten_at = 0.0
        self._back_after_s = 0.0  # who dies now comes back then; 0: as everybody does
        self._running: set[asyncio.Task[None]] = set()
        self._unbreak = break_statements(self.store, self.points.breaks_statement)

    # The house, with what a swarm changes.

    def railway_in(self, world: World, timeout_s: float) -> Railway:
        return SlowRailway(self.road, super().railway_in(world, timeout_s))

    def cashier_in(self, world: World, timeout_s: float) -> Cashier:
        return SlowTill(self.road, super().cashier_in(world, timeout_s))

    def agents_in(self, world: World) -> AgentCaller:
        return SlowAgents(self.road, super().agents_in(world))

    def clock_of(self, life: Incarnation) -> Clock:
        """Some machines' clocks are wrong, from a little to more than any grace, until the weather clears."""
        if self.points.on and self._clocks.random() < self.swarm.wrong_clocks:
            life.clock_ahead_s = self._clocks.uniform(-1, 1) * self._clocks.choice(CLOCKS_WRONG_BY_S)
            self.points.counts["wrong_clock"] += 1
        return super().clock_of(life)

    def start(self) -> None:
        super().start()
        self.start_process(DOOR)
        self.start_process(DESK)

    def start_process(self, stage: str) -> Incarnation:
        if stage == DOOR:
            return self._open_door()
        return self._open_desk() if stage == DESK else super().start_process(stage)

    def _open_desk(self) -> Incarnation:
        """The dead-letter desk, here a process of its own."""
        life = self._new_life(DESK)
        boxes = {of: self.broker.inbox(dead_letter_queue_of(of), MAX_BATCH) for of in STAGES}
        self._boxes[life.worker] = list(boxes.values())
        inboxes = {of: Inbox(life, box) for of, box in boxes.items()}
        desk = DeadLetterDesk(self.store, Executor(life, self._note_writer), inboxes, self.service_keys.public)
        life.spawn(_kept(desk))
        return life

    def _open_door(self) -> Incarnation:
        life = self._new_life(DOOR)
        executor, outbox = Executor(life, self._note_writer), Outbox(life, self.broker.outbox())
        limits, window_s = limits_of(self.settings), self.settings.repeat_window_s
        self._desk = AgentDesk(self.store, executor, outbox, self.clock, self.service_keys, limits, window_s)
        return life

    async def _beat(self, life: Incarnation) -> None:
        """Nobody beats by the clock: hours in which nothing happens stay cheap (see `_beat_for_all`)."""

    def _beat_for_all(self) -> None:
        """Every process that runs has beaten by now, as far as anybody can see: done right before somebody looks."""
        now, lease_s = asyncio.get_running_loop().time(), self.settings.lease_s
        if now - self._beaten_at < lease_s / BEATS_PER_LEASE:
            return
        self._beaten_at = now
        running = [life for life in self.alive if life.worker in self._main and not life.frozen]
        super()._note_writer("Heartbeat")
        self.points.arm_statement("")
        self.store.write(lambda tx: [control.beat(tx, life.worker, life.stage, lease_s) for life in running])

    def _note_writer(self, owner: str) -> None:
        if owner:
            self._beat_for_all()
        super()._note_writer(owner)
        self.points.arm_statement(owner)

    def _bury(self, life: Incarnation) -> None:
        self.points.died(life.stage)
        if self.restart_after_s is not None:
            self.restart_after_s = self._back_after_s or self._choices.choice(RESTARTS_S)
        super()._bury(life)
        for box in self._boxes.pop(life.worker, ()):
            box.closed = True
            box.give_back()

    def _pass(self, stage: str, point: str) -> Act:
        self.events += 1
        self.oracle.look()
        if not self.points.on:
            return self.points.at(stage, point)
        act = self.points.at(stage, point)
        if act is None:
            act = self.people.at(stage, point)
        if isinstance(act, float):
            self._beat_for_all()  # until now it did
            if act >= LONG_S:
                self.people.meanwhile()
        return act

    # What the outside does with it.

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that people have begun; it goes on by itself, whoever's point it was begun at dies."""
        task = Context().run(asyncio.get_running_loop().create_task, work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @property
    def is_busy(self) -> bool:
        """Whether something that people began still goes on."""
        return bool(self._running)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, act, context=Context())

    def add_funds(self, tx: Transaction, agent: str, fen: int) -> None:
        """The fund grows."""
        self.topped_up_fen[agent] += fen
        ledger.apply(tx, [postings.top_up(agent, uuid.uuid4().hex, fen, "充值")])

    async def ask(self, ask: AgentAsk, *, again: bool) -> AgentReply:
        """An agent's HTTP request. Raises DeskUnavailable where there is no answer."""
        life = next((life for life in self.alive if life.stage == DOOR), None)
        if life is None or self._desk is None:
            raise DeskUnavailable("nobody listens")
        task = life.spawn(_answer(self._desk, ask, again=again))
        await asyncio.wait({task}, timeout=ANSWER_WITHIN_S)
        if not task.done() or task.cancelled() or task.exception() is not None:
            raise DeskUnavailable("no answer")
        answer = task.result()
        if isinstance(answer, DeskUnavailable):
            raise answer
        reply: AgentReply = answer
        return reply

    def drain(self) -> None:
        """AM reads its results; the dead letters are the desk's."""
        self.publisher.read([ResultEvent.model_validate_json(body) for body in self.broker.bodies("daifu.am")])

    # The phase with faults.

    async def under_fire(self) -> None:
        """Orders come over the given time, everything goes wrong meanwhile, and for a while after the last one."""
        for agent in AGENTS:
            self.add_agent(agent, top_up_fen=0)
            fen = round(self._orders * PRICE_FEN * self.swarm.fund_orders / len(AGENTS))
            self.write(partial(self.add_funds, agent=agent, fen=max(fen, PRICE_FEN)))
        self.sky.disk_lost = lambda: self.run(self._publish_again())
        self.sky.gather(
            ("relay_away", self.swarm.weather.relay_away_s, self._relay_away),
            ("redeploy", self.swarm.weather.redeploy_s, self._redeploy),
            ("audit", AUDIT_EVERY_S, self._audit),
        )
        source = stream(self.swarm.seed, "arrivals")
        times = sorted(source.uniform(0, self._arrive_within_s) for _ in range(self._orders))
        if source.random() < 0.5:  # in bursts
            times = [time - time % 600 for time in times]
        began = asyncio.get_running_loop().time()
        for time in times:
            await asyncio.sleep(max(0.0, began + time - asyncio.get_running_loop().time()))
            self.run(first_request(self.people, self.crowd.arrive()))
        await asyncio.sleep(source.uniform(0, 1_800))

    async def _publish_again(self) -> None:
        await asyncio.sleep(self._choices.uniform(0, 30))
        await self.publisher.send_again()

    async def _relay_away(self) -> None:
        self._back_after_s = self._choices.uniform(*RELAY_AWAY_S)
        self.kill("relay")
        self._back_after_s = 0.0

    async def _redeploy(self) -> None:
        """As at a deployment: stopped, drained for a while, then ended and closed; a new one comes."""
        stage = self._choices.choice(STAGES)
        for life in [life for life in self.alive if life.stage == stage]:
            self._runners[life.worker].stop()
            await asyncio.wait({self._main[life.worker]}, timeout=self.settings.drain_s)
            if not life.dead:
                life.kill()
                self._close(life)

    async def _audit(self) -> None:
        self.audit_now()

    def audit_now(self) -> None:
        """Our own audit must hold at any moment; only the indexes stay as they were made."""
        report = self.read(lambda tx: audit.audit(tx, leave_out=(Scope.DATABASE,)))
        self.oracle.broken.extend(f"audit {broken}" for broken in report.broken)

    async def stop(self) -> None:
        self._unbreak()
        await super().stop()


async def _kept(desk: DeadLetterDesk) -> None:
    """The desk's run; its death is one death, not a group of them."""
    try:
        await desk.run()
    except BaseExceptionGroup as group:
        if group.subgroup(ProcessDied) is None:
            raise
        raise ProcessDied(DESK) from None


async def _answer(desk: AgentDesk, ask: AgentAsk, *, again: bool) -> AgentReply | DeskUnavailable:
    """What the door makes an answer of: "send again" is one."""
    try:
        return await desk.ask(ask, again=again)
    except DeskUnavailable as error:
        return error
