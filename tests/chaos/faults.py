"""What is done to the stack while orders flow: single acts, each of which ends by itself or is ended by `calm`."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable
from typing import Any, Final

from tests.chaos.orders import AGENTS
from tests.chaos.proxy import Way
from tests.chaos.stack import ARGUMENTS, UNREACHABLE, Stack
from tests.integration.pipeline_process import until

PAYMENT: Final = ("payment", "payment-2")
LOOK_S: Final = 0.05
CALM_S: Final = 180.0
AT_WORK_SHARE: Final = 0.85  # the rest may hit one that is just starting
STRANDED_S: Final = 90.0
OUTAGES: Final = ("refuse", "timeout", "503", "maintenance")
ANSWERS: Final = ("false", "500", "timeout", "reset")
WEATHER_S: Final = (8.0, 20.0)  # between two changes of what is not ours: 12306, agents, operators

Act = Callable[[], Any]


class Fire:
    """The acts, on one thread. `lease_s` is the workers' lease: a freeze lasts longer. `say` writes the run's diary."""

    def __init__(self, stack: Stack, seed: int, lease_s: float, say: Callable[[str], None]) -> None:
        self.stack, self.lease_s, self.say = stack, lease_s, say
        self.chance = random.Random(f"fire {seed}")
        self._later: list[tuple[float, int, Act]] = []
        self._count = 0
        self._weather_at = time.monotonic() + self.chance.uniform(*WEATHER_S)
        self._paused: set[tuple[str, str]] = set()

    # -- time --------------------------------------------------------------------------------------------------------

    def later(self, after_s: float, act: Act) -> None:
        """Do this in `after_s` seconds, or at the next `calm`."""
        self._count += 1
        heapq.heappush(self._later, (time.monotonic() + after_s, self._count, act))

    def wait(self, seconds: float) -> None:
        """Let time pass: what was put off happens, the weather changes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()
            if time.monotonic() >= self._weather_at:
                self._weather_at = time.monotonic() + self.chance.uniform(*WEATHER_S)
                self.weather()
            time.sleep(LOOK_S)

    def calm(self) -> None:
        """The end of all faults: everything that was put off is done, everything runs and is ready."""
        stack = self.stack
        while self._later:
            heapq.heappop(self._later)[2]()
        for proxy in stack.proxies:
            proxy.calm()
        for name in ARGUMENTS:
            stack.thaw(name)
        stack.put("/sandbox/outage", {})
        for code in AGENTS:
            stack.put(f"/sandbox/agents/{code}", {"answer": "ok"})
        stack.postgres.start()
        stack.start_broker()
        until("the topology is there", stack.declare, CALM_S)
        for scope, name in sorted(self._paused):
            until(f"{scope} {name} is resumed", lambda s=scope, n=name: self._resumed(s, n), CALM_S)  # type: ignore[misc] # bound per round
        for name in ARGUMENTS:
            self._wait_ready(name)

    def _wait_ready(self, name: str) -> None:
        try:
            until(f"{name} is ready after the fire", lambda: self._is_ready(name), CALM_S)
        except AssertionError as error:
            self.stack.troubles.append(str(error))

    def _is_ready(self, name: str) -> bool:
        process = self.stack.process(name)
        try:
            return process.running and process.ready() is not None and process.is_ready()
        except (OSError, AssertionError):  # it is just ending; the supervisor starts another
            return False

    # -- workers -----------------------------------------------------------------------------------------------------

    def someone(self) -> str:
        """Payment more often than the others: it has the most to lose."""
        names = (*ARGUMENTS, *PAYMENT, *PAYMENT)
        if self.chance.random() < AT_WORK_SHARE:
            names = tuple(name for name in names if self._is_at_work(name)) or names
        return self.chance.choice(names)

    def _is_at_work(self, name: str) -> bool:
        process = self.stack.process(name)
        return process.running and "ready" in process.events()

    def kill(self, *names: str, down_s: float = 0.0) -> None:
        killed = [name for name in names if self.stack.kill(name, down_s)]
        self.say(f"killed {' '.join(killed)}")

    def cut_power(self, name: str) -> None:
        """It dies, and its database sessions, perhaps in the middle of a transaction, are not told for a minute and more."""
        self.say(f"cut the power of {name}, {self.stack.cut_power(name, STRANDED_S)} database sessions stranded")

    def freeze(self, name: str) -> None:
        """Longer than its lease: others take over what it has in hand, and it wakes up believing it still has it."""
        seconds = self.lease_s * self.chance.uniform(1.2, 2.0)
        if self.stack.freeze(name):
            self.say(f"froze {name} for {seconds:.0f} s")
            self.later(seconds, lambda: self.stack.thaw(name))

    def terminate(self, name: str) -> None:
        self.say(f"asked {name} to end")
        self.stack.terminate(name)

    # -- servers -----------------------------------------------------------------------------------------------------

    def restart_database(self, *, at_once: bool) -> None:
        """`at_once`: every process of it is killed, and what it wrote is recovered; else the fast, orderly way."""
        self.say(f"PostgreSQL {'killed' if at_once else 'restarted'}")
        (self.stack.postgres.kill if at_once else self.stack.postgres.stop)()
        self.stack.postgres.start()
        self.stack.tally["PostgreSQL restarts"] += 1

    def restart_broker(self, *, at_once: bool) -> None:
        self.say(f"RabbitMQ {'killed' if at_once else 'restarted'}")
        (self.stack.node.kill if at_once else self.stack.node.stop)()
        self.wait(self.chance.uniform(0.0, 3.0))
        self.stack.node.start()
        self.stack.tally["RabbitMQ restarts"] += 1

    def wipe_broker(self) -> None:
        """Its disk is gone: every queue, every message. Workers find nothing to consume until somebody declares it."""
        self.say("RabbitMQ wiped")
        self.stack.node.wipe()
        self.stack.node.start()
        self.stack.tally["RabbitMQ wipes"] += 1
        self.wait(self.chance.uniform(0.0, 8.0))
        until("the topology is declared anew", self.stack.declare, CALM_S)
        self.say("topology declared")

    # -- the network -------------------------------------------------------------------------------------------------

    def disturb_network(self) -> None:
        chance = self.chance
        proxy, way = chance.choice(self.stack.proxies), chance.choice(list(Way))
        share, seconds = chance.choice((0.2, 0.5, 1.0)), chance.uniform(2.0, 10.0)
        what = chance.choice(("cut", "cut", "half_close", "hold", "delay", "refuse"))
        self.stack.tally[f"network {what}"] += 1
        if what == "cut":
            self.say(f"{proxy.name}: {proxy.cut(share)} connections cut")
        elif what == "half_close":
            count = proxy.half_close(way, share, seconds)
            self.say(f"{proxy.name}: {count} connections closed {way.value} for {seconds:.0f} s")
        elif what == "hold":
            count = proxy.hold(way, share, seconds)
            self.say(f"{proxy.name}: {count} connections silent {way.value} for {seconds:.0f} s")
        elif what == "delay":
            proxy.delay(chance.uniform(0.05, 0.5))
            self.say(f"{proxy.name}: slow for {seconds:.0f} s")
            self.later(seconds, lambda: proxy.delay(0.0))
        else:
            proxy.refuse(True)
            self.say(f"{proxy.name}: nobody gets in for {seconds / 2:.0f} s")
            self.later(seconds / 2, lambda: proxy.refuse(False))

    # -- what is not ours --------------------------------------------------------------------------------------------

    def weather(self) -> None:
        chance = self.chance
        what = chance.choice(("railway", "cashier", "both", "agent", "agent", "pause", "pause"))
        seconds = chance.uniform(2.0, 8.0)
        self.stack.tally[f"weather {what}"] += 1
        if what == "agent":
            code, answer = chance.choice(AGENTS), chance.choice(ANSWERS)
            self.say(f"agent {code} answers {answer} for {seconds:.0f} s")
            self.stack.put(f"/sandbox/agents/{code}", {"answer": answer})
            self.later(seconds, lambda: self.stack.put(f"/sandbox/agents/{code}", {"answer": "ok"}))
        elif what == "pause":
            self._pause(seconds)
        else:
            outage = {"railway": what != "cashier", "cashier": what != "railway", "mode": chance.choice(OUTAGES)}
            self.say(f"{what} down ({outage['mode']}) for {seconds:.0f} s")
            self.stack.put("/sandbox/outage", {**outage, "for_s": seconds})

    def _pause(self, seconds: float) -> None:
        scope = self.chance.choice(("stage", "agent"))
        name = self.chance.choice(AGENTS) if scope == "agent" else self.chance.choice(("payment", "notification"))
        if (scope, name) in self._paused:
            return  # its resume did not get through, and is typed again when all is calm
        done = self.stack.command("pause", scope, name, "--reason", "演练", within_s=15)
        if done is None or done.code in (0, UNREACHABLE):  # one that was cut short may have been stored
            self.say(f"paused {scope} {name} for {seconds:.0f} s")
            self._paused.add((scope, name))
            self.later(seconds, lambda: self._resumed(scope, name))
        else:
            self.stack.troubles.append(f"`daifu pause {scope} {name}` failed: {done}")

    def _resumed(self, scope: str, name: str) -> bool:
        if (scope, name) not in self._paused:
            return True
        done = self.stack.command("resume", scope, name, "--reason", "演练结束", within_s=15)
        if done is None or done.code == UNREACHABLE:
            return False  # any other refusal: a pause that was cut short had not been stored
        self._paused.discard((scope, name))
        return True
