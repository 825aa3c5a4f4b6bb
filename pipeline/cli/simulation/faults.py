"""What goes wrong inside and around processes: at the points they pass, and over everybody like weather."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.broker.port import BrokerUnavailable
from pipeline.cli.simulation.incarnation import DIE, Act
from pipeline.cli.simulation.swarm import Swarm
from pipeline.cli.simulation.virtual_broker import BadDay, VirtualBroker
from pipeline.railway.sandbox.world import World
from pipeline.store.engine import CommitUnknown, StoreUnavailable

MOST_SKIPPED = 2  # passages of a point that is aimed at
PAYMENT = 0.6  # of what is aimed is aimed at payments
BESIDES = ("Breaker", "railway_probe", "cashier_probe", "register", "heartbeat", "take", "ack", "publish")
RECOVERING_POINTS = 60  # so long after a death its stage counts as recovering
LATEST_STATEMENT = 12
FREEZES_S = (0.05, 2.0, 6.0, 20.0)  # and longer than the lease
OUTAGE_MODES = ("refuse", "timeout", "503", "maintenance")
AGENT_FAULTS = ("false", "500", "timeout", "reset")


class PointFaults:
    """The plan for every point: die, freeze, raise, go on. `counts` says how often what happened; `strikes` of them are aimed."""

    def __init__(self, swarm: Swarm, randomness: random.Random, broker: VirtualBroker, strikes: int) -> None:
        self._rates, self._lease_s = swarm.rates, swarm.settings.lease_s
        self._random, self._broker = randomness, broker
        self.on = True
        self.database_down = False
        self.counts: Counter[str] = Counter()
        self._recovering: dict[str, int] = {}
        self._statements_left = 0  # of the transaction that runs now; 0: none of them fails
        self._aim = Aim(randomness, strikes)

    def died(self, stage: str) -> None:
        self._recovering[stage] = RECOVERING_POINTS

    def at(self, stage: str, point: str) -> Act:
        """What happens to a process of `stage` at `point`."""
        self._statements_left = 0
        if not self.on:
            return None
        if self._aim.hit(stage, point):
            return self._strike(point)
        rates, chance = self._rates, self._random.random()
        if chance < self._death_rate(stage):
            self.counts["double_death" if self._recovering.get(stage, 0) else "death"] += 1
            return DIE
        chance = self._random.random()
        if chance < rates.freeze:
            self.counts["freeze"] += 1
            return float(self._random.choice((*FREEZES_S, self._lease_s * 1.5, self._lease_s * 4)))
        if chance > 1 - rates.connections:
            self.counts["connections_lost"] += 1
            self._broker.break_connections()
        name, _, side = point.partition(":")
        if name.endswith(".tx"):
            return self._transaction(side)
        if name == "publish" and side != "sent" and self._random.random() < rates.publish:
            self.counts[f"publish_{side}"] += 1
            return BrokerUnavailable(f"the connection broke {side} the publish")
        return None

    def _strike(self, point: str) -> Act:
        """Whatever can happen at this point."""
        acts: list[tuple[str, Act]] = [("death", DIE), ("freeze", self._lease_s * 1.5), ("freeze", self._lease_s * 4)]
        if point.endswith(".tx:before"):
            acts.append(("commit_unknown_lost", CommitUnknown("the connection broke during COMMIT")))
        if point.endswith(".tx:after"):
            acts.append(("commit_unknown_stored", CommitUnknown("the connection broke during COMMIT")))
        if point in ("publish:before", "publish:after"):
            acts.append((point.replace(":", "_"), BrokerUnavailable("the connection broke around the publish")))
        name, act = self._random.choice(acts)
        self.counts[name] += 1
        return act

    def _death_rate(self, stage: str) -> float:
        left = self._recovering.get(stage, 0)
        if not left:
            return self._rates.death
        self._recovering[stage] = left - 1
        return max(self._rates.death, self._rates.death_in_recovery / RECOVERING_POINTS * 4)

    def _transaction(self, side: str) -> Act:
        if side == "before":
            if self.database_down:
                self.counts["database_down"] += 1
                return StoreUnavailable("the database is down")
            if self._random.random() < self._rates.before_commit:
                self.counts["before_commit"] += 1
                return StoreUnavailable("the connection broke before the commit")
            if self._random.random() < self._rates.commit_unknown:
                self.counts["commit_unknown_lost"] += 1
                return CommitUnknown("the connection broke during COMMIT")
        elif self._random.random() < self._rates.commit_unknown:
            self.counts["commit_unknown_stored"] += 1
            return CommitUnknown("the connection broke during COMMIT")
        return None

    def arm_statement(self, owner: str) -> None:
        """A transaction of a process begins (`owner` empty: a person's, which is left alone)."""
        self._statements_left = 0
        if self.on and owner and self._random.random() < self._rates.statement:
            self._statements_left = self._random.randint(1, LATEST_STATEMENT)

    def breaks_statement(self) -> bool:
        """Whether the statement that runs now fails."""
        if not self._statements_left:
            return False
        self._statements_left -= 1
        if self._statements_left:
            return False
        self.counts["statement"] += 1
        return True


class Aim:
    """Aims at one point after the other, each drawn evenly from those that were seen, most of them where it is paid: rare ones
    get their share."""

    def __init__(self, randomness: random.Random, shots: int) -> None:
        self._random, self.shots = randomness, shots
        self._seen: dict[tuple[str, str], None] = {}  # in order
        self._at: tuple[str, str] | None = None
        self._skip = 0

    def hit(self, stage: str, point: str) -> bool:
        """Whether this passage of a point is the one."""
        here = (stage, point)
        self._seen.setdefault(here)
        if self.shots <= 0:
            return False
        if self._at is None:
            paying = [seen for seen in self._seen if seen[0] == "payment" and not seen[1].startswith(BESIDES)]
            self._at = self._random.choice((self._random.random() < PAYMENT and paying) or list(self._seen))
            self._skip = self._random.randint(0, MOST_SKIPPED)
        if here != self._at:
            return False
        if self._skip:
            self._skip -= 1
            return False
        self._at = None
        self.shots -= 1
        return True


class Sky:
    """What comes over everybody. Each kind comes on its own, lasts, and goes; `clear` ends them all."""

    def __init__(
        self,
        swarm: Swarm,
        randomness: random.Random,
        broker: VirtualBroker,
        world: World,
        points: PointFaults,
        agents: tuple[str, ...],
    ) -> None:
        self._swarm, self._random = swarm, randomness
        self._broker, self._world, self._points, self._agents = broker, world, points, agents
        self.counts: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []
        self.disk_lost: Callable[[], None] = lambda: None  # tells AM

    def gather(self, *more: tuple[str, float | None, Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Start the weather. `more`: kinds that only the house can make."""
        self._make_messages_bad()
        weather = self._swarm.weather
        kinds = (
            ("connections", weather.connections_s, self._connections),
            ("broker_down", weather.broker_down_s, self._broker_down),
            ("disk_lost", weather.disk_lost_s, self._disk_lost),
            ("database_away", weather.database_down_s, self._database_down),
            ("outage", weather.outage_s, self._outage),
            ("skew", weather.skew_s, self._skew),
            ("agents_fail", weather.agents_s, self._agents_fail),
            *more,
        )
        for name, mean_s, act in kinds:
            if mean_s is not None:
                self.tasks.append(asyncio.get_running_loop().create_task(self._again_and_again(name, mean_s, act)))

    def clear(self) -> None:
        """The phase without faults begins."""
        for task in self.tasks:
            task.cancel()
        self._points.on = self._points.database_down = False
        self._broker.recover()
        self._world.set_outage({"for_s": 0})
        self._world.set_clock({"skew_s": 0.0})
        for agent in self._agents:
            self._world.set_agent(agent, {"answer": "ok"})

    async def _again_and_again(self, name: str, mean_s: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / mean_s))
            self.counts[name] += 1
            await act()

    def _make_messages_bad(self) -> None:
        swarm, source = self._swarm, self._random

        def delay_s(_queue: str) -> float:
            return source.expovariate(1 / swarm.late_by_s) if source.random() < swarm.late else 0.0

        self._broker.bad_day = BadDay(
            copies=lambda _queue: 1 + (source.random() < swarm.copies),
            delay_s=delay_s,
            shuffle=source if swarm.shuffled else None,
            most_per_take=3 if swarm.workers > 1 else 1_000_000,
        )

    async def _connections(self) -> None:
        self._broker.break_connections()

    async def _broker_down(self) -> None:
        self._broker.bad_day.down = True
        self._broker.break_connections()
        await asyncio.sleep(self._random.uniform(1, 90))
        self._broker.bad_day.down = False
        for queue in self._broker.queues:
            self._broker.ring(queue)

    async def _disk_lost(self) -> None:
        self._broker.lose_disk()
        self.disk_lost()

    async def _database_down(self) -> None:
        self._points.database_down = True
        await asyncio.sleep(self._random.uniform(0.1, 40))
        self._points.database_down = False

    async def _outage(self) -> None:
        upstreams = self._random.choice((("railway",), ("cashier",), ("railway", "cashier")))
        for_s = self._random.choice((2.0, 20.0, 90.0, 400.0, 1_500.0))
        mode = self._random.choice(OUTAGE_MODES)
        self._world.set_outage({**dict.fromkeys(upstreams, True), "mode": mode, "for_s": for_s})
        await asyncio.sleep(for_s)

    async def _skew(self) -> None:
        self._world.set_clock({"skew_s": self._random.uniform(-60, 60)})
        await asyncio.sleep(self._random.uniform(10, 400))
        self._world.set_clock({"skew_s": 0.0})

    async def _agents_fail(self) -> None:
        agent = self._random.choice(self._agents)
        self._world.set_agent(
            agent, {"answer": self._random.choice(AGENT_FAULTS), "times": self._random.randint(1, 12)}
        )
