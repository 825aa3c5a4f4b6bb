"""Every point at which a process can die, found by recording, and what each death leads to.

One run of an order is recorded through the wrapped ports. At each point that the recording passes, this process forks: in
the child the process under test dies right there, is started again, and the day is lived to its end and checked; the parent
goes on recording. So every kill really happens, at a point that was really passed, in exactly the state that led to it.

    python -m tests.simulation.crash_points [BEHAVIOUR…]
    python -m tests.simulation.crash_points ok --at "payment submit:received #1"

Points are one kill where they can't differ. What a death leaves is the database, the broker, the sandbox and the other
processes at that moment; the dead process's memory is gone. So two points of one process are the same kill
  - when between them no time passed, no commit changed a row, nothing was published, delivered or acked, no request was
    received and no other process passed a point (`NAME:after` and the next call's `before`, transactions that only read);
  - while the process holds nothing and waits (heartbeats of an idle process): whenever it dies in that time, its successor,
    started at once, waits in its place for the same next message. The rows of who beat until when are read only for
    leases, and it has none.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from pipeline.cli.simulation.house import STAGES
from pipeline.cli.simulation.incarnation import DIE, Act, Incarnation
from pipeline.cli.simulation.virtual_loop import run_virtual
from pipeline.store.moments import watch_commits
from tests.simulation.crash_points_day import CrashHouse, check_day, live_through
from tests.simulation.crash_points_tally import Path, Tally, report
from tests.simulation.test_behaviours import BEHAVIOURS

RESTART_S = 1.0
TOO_LONG_S = 120.0  # of CPU: a child that neither ends nor fails is a failure

Check = Callable[[CrashHouse, str, str], tuple[str, str | None]]  # of a day, its behaviour, its hold: (state, reason)
Shard = tuple[int, int]  # which of how many
WHOLE: Shard = (0, 1)


class Recorder:
    """The plan of a house: notes each point, and forks a death at each that differs from the one before. With a script it
    forks nothing and dies where the script says."""

    def __init__(self, house: CrashHouse, tally: Tally, deaths: int, script: Path, shard: Shard) -> None:
        self.house = house
        self._shard = shard  # of the first deaths
        self._forks = 0
        self.tally = tally
        self.path: Path = script  # the deaths of this run
        self.script = list(script)  # those still to come
        self._deaths_left = deaths
        self._died = ""  # the stage of the last death
        self._report_to: int | None = None  # the pipe to whoever forked this process
        self._passed: Counter[str] = Counter()
        self._commits = 0
        self._seen: dict[str, Any] = {}  # by worker: how everything stood when it last passed a point
        self._own: dict[str, Counter[str]] = {}  # by worker: the points it passed
        self._unwatch = watch_commits(house.store, self._note_commit)

    def _note_commit(self, changed: bool) -> None:  # noqa: FBT001 - as `watch_commits` calls it
        self._commits += changed

    def passes(self, stage: str, point: str) -> Act:
        """`Plan` of the house."""
        life = self.house.process(stage)
        self._passed[f"{stage} {point}"] += 1
        own = self._own.setdefault(life.worker, Counter())
        own["all"] += 1
        own[point.rpartition(":")[2] if point.endswith(":received") else point] += 1
        step = f"{stage} {point} #{self._passed[f'{stage} {point}']}"
        if self.script:
            return self.as_written(step, life, point)
        if self._deaths_left == 0 or self._is_over():
            return None
        self.tally.points += self._speaks
        idle = self.house.only_waits(life, point)
        standing = self.standing(life, idle=idle)
        if self._seen.get(life.worker) == standing:
            return None
        self._seen[life.worker] = standing
        return self.strike(step, idle=idle) if self._is_ours() else None

    def _is_over(self) -> bool:
        """The recovery from the death of this run is; a second one from here on would be another first one."""
        if self.path and self.house.has_recovered(self._died):
            self._deaths_left = 0
        return self._deaths_left == 0

    @property
    def _speaks(self) -> bool:
        """Of what all shards live through, the recording up to a death, only the first one tells."""
        return bool(self.path) or self._shard[0] == 0

    def _is_ours(self) -> bool:
        """Of the first deaths every so many-th is died here, the others in other shards; of the second all."""
        number, of = self._shard
        self._forks += 1
        return bool(self.path) or self._forks % of == number

    def as_written(self, step: str, life: Incarnation, point: str) -> Act:
        if step != self.script[0]:
            return None
        self.script.pop(0)
        self.house.restart_after_s = 0.0 if self.house.only_waits(life, point) else RESTART_S
        return DIE

    def standing(self, life: Incarnation, *, idle: bool) -> Any:
        """Equal for two points of a process at which its death leaves the same (see the head of this file)."""
        own = self._own[life.worker]
        if idle:
            return own["take:after"]
        others = sum(points["all"] for worker, points in self._own.items() if worker != life.worker)
        house = self.house
        return house.clock.monotonic(), self._commits, house.broker_stands(), own["received"], others

    def strike(self, step: str, *, idle: bool) -> Act:
        """A child dies here."""
        if not self.in_a_child(step):
            return None
        self.house.restart_after_s = 0.0 if idle else RESTART_S
        self._died = step.partition(" ")[0]
        return DIE

    def in_a_child(self, step: str) -> bool:
        """Fork here. True in the child, whose run goes on to its end with `step` behind it; False in the parent, once the child
        has told what came of it."""
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        child = os.fork()
        if child:
            os.close(write_end)
            with os.fdopen(read_end, "rb") as answers:
                told = answers.read()
            _pid, status = os.waitpid(child, 0)
            if told:
                self.tally.add(Tally.from_json(told.decode()))
            else:
                self.tally.failures.append(((*self.path, step), f"the run ended with status {status}"))
            return False
        os.close(read_end)
        gc.disable()
        asyncio._set_running_loop(loop)  # asyncio knows a running loop by the process that runs it
        self._report_to = write_end
        self.path = (*self.path, step)
        self._deaths_left -= 1
        signal.setitimer(signal.ITIMER_PROF, 0.0 if self._deaths_left else TOO_LONG_S)
        self.tally = Tally(self.tally.behaviour, names={step.rpartition(" ")[0]})
        return True

    @property
    def struck(self) -> int:
        """How often what the plan says really happened in this run."""
        return len(self.house.dead)

    def ended(self, ending: tuple[str, str | None] | None, failure: str, struck: int) -> None:
        """The run is over, so much happened in it; a child says so and is gone."""
        tally = self.tally
        if struck != len(self.path):
            failure = failure or f"{struck} of {len(self.path)} happened"
        tally.kills[len(self.path)] += self._speaks
        tally.died += 1 if self.path and struck == len(self.path) else 0
        if failure:
            tally.failures.append((self.path, failure))
        elif self._speaks:
            state, reason = ending or ("", None)
            tally.endings[f"{state} {reason or ''}".strip()] += 1
        if self._report_to is not None:
            with os.fdopen(self._report_to, "wb") as report:
                report.write(tally.to_json().encode())
            os._exit(0)
        self._unwatch()


def explore(behaviour: str, deaths: int = 1, script: Path = (), shard: Shard = WHOLE) -> Tally:
    """Record one order of this behaviour and kill at every point; `deaths` 2: again at every point of each recovery, which is
    over when the stage that died has a successor and nothing left to do (`CrashHouse.has_recovered`). With a
    script only these deaths are died, in this process; with a shard only that part of the first deaths."""
    most = max(deaths, len(script))
    return record(
        lambda house: Recorder(house, Tally(behaviour), 0 if script else deaths, script, shard),
        behaviour,
        most,
        check_day,
    )


def record(recorder_of: Callable[[CrashHouse], Recorder], behaviour: str, deaths: int, check: Check) -> Tally:
    """Live through a day with this recorder; it and its children check what came of it."""
    recorders: list[Recorder] = []

    async def day() -> None:
        house = CrashHouse(deaths)
        house.start()
        house.add_agent()
        recorder = recorder_of(house)
        recorders.append(recorder)
        house.plan = recorder.passes
        ending, failure, struck = None, "", 0
        try:
            hold = await live_through(house, behaviour)
            ending = check(house, behaviour, hold)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of this run
            failure = _words(error)
        struck = recorder.struck
        try:
            await house.stop()
        except AssertionError as error:
            failure = failure or _words(error)
        recorder.ended(ending, failure, struck)

    try:
        run_virtual(day)
    except BaseException as error:
        if not recorders:
            raise
        recorders[0].ended(None, _words(error), 0)
    return recorders[0].tally


def warm_up() -> None:
    """Live through a day with deaths, so that every statement is compiled here and not again in every child."""

    async def day() -> None:
        house = CrashHouse()
        house.start()
        house.add_agent()
        for stage in (*STAGES, "relay"):
            asyncio.get_running_loop().call_later(7, house.kill, stage)
        check_day(house, "timeout_unpaid", await live_through(house, "timeout_unpaid"))
        await house.stop()

    for _ in range(2):  # a statement is compiled for good when it comes for the second time
        run_virtual(day)
    gc.collect()
    gc.freeze()  # what is shared with the children stays shared: nobody's collector walks over it


def explore_all(behaviours: Sequence[str]) -> Iterator[Tally]:
    """A death at every point of all behaviours, on all cores, as they come."""
    warm_up()
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(explore, behaviours)


def silence_logs() -> None:
    """Nobody reads the log lines of ten thousand deaths, and they take time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _words(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {where.name}:{where.lineno}: {error}"[:2000]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crash_points")
    parser.add_argument("behaviours", nargs="*", help="all of them unless some are named")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each behaviour instead of words")
    parser.add_argument("--at", action="append", help='die here only, in turn: "payment submit:received #1"')
    given = parser.parse_args(arguments)
    silence_logs()
    wanted = given.behaviours or list(BEHAVIOURS)
    if given.at:
        return report((explore(behaviour, script=tuple(given.at)) for behaviour in wanted), len(wanted), len(given.at))
    tallies = explore_all(wanted)
    if not given.json:
        return report(tallies, len(wanted), 1)
    for tally in tallies:
        print(tally.to_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
