"""`make test-kill`: real processes on RabbitMQ and PostgreSQL, a real SIGKILL at every point, one order per death.

    python -m tests.chaos.kills [--lanes N] [--only STAGE] [--behaviours B,B] [--at POINT#NTH]

Points are recorded first, one run per behaviour through wrapped ports (`kill_process`); a point that comes round again and again
without an order (heartbeats, the relay's and the breakers' looks) is died at once, at its first pass after the order was sent.
A second pass that does not come with one order comes with the next; all of them must end as they should. A kill that did not
happen fails the run; before anything else a death that can't come must be found out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.chaos.kill_lane import STILL_ALIVE, Death, Lane
from tests.services.providers import provide_postgres, provide_rabbitmq

#: One behaviour for each path through the pay call; the others of the table differ from one of these only in what the sandbox
#: says, not in what the worker then does.
BEHAVIOURS: Final = {
    "ok": "look, form, line, intent, submit, an answer, both questions say paid",
    "unpaid_list_empty_at_first": "the look is repeated",
    "session_taken_over": "the session is lost and opened again",
    "wrong_password": "the login is refused by name and recorded before anything else",
    "already_paid": "absent from the unpaid list, found in the finished one: ended without an intent",
    "price_changed": "found and unfit: ended by the look",
    "refuse": "refused by name: concluded from the cashier's page, the hold voided",
    "reset_before_read": "the line breaks before anything was read: in doubt, questions until after the deadline",
    "timeout_paid": "no answer to the form: the first questions find it paid",
    "late_pay": "the first questions find nothing, a later row finds it paid",
    "takes_other_amount": "abnormal by the first answer",
    "mute_after_pay": "nobody ever answers: the relay ends the window",
}
AT_THE_START: Final = "Eraser."  # looks once the process is up, ready or not yet, and then not for minutes
ROUND_AND_ROUND: Final = 12  # a point passed more often than this by one order comes round by itself


def deaths_of(behaviour: str, passed: dict[str, Counter[str]]) -> list[Death]:
    deaths = []
    for stage, points in passed.items():
        for point, times in sorted(points.items()):
            if point.startswith(AT_THE_START):
                continue
            deaths += [Death(stage, point, nth, behaviour) for nth in range(1, _worth(point, times) + 1)]
    return deaths


def deaths_at_start(
    behaviour: str, start: dict[str, Counter[str]], others: Iterable[dict[str, Counter[str]]]
) -> list[Death]:
    """Deaths before a process is ready, and at what it does once about then: `start` and `others` are what was passed before it was
    ready and afterwards, by stage."""
    found = {(stage, point) for stage, points in start.items() for point in points}
    for passed in others:
        found |= {(stage, at) for stage, points in passed.items() for at in points if at.startswith(AT_THE_START)}
    return [Death(stage, point, 1, behaviour, at_start=True) for stage, point in sorted(found)]


def _worth(point: str, times: int) -> int:
    alone = times > ROUND_AND_ROUND or point.startswith(("Relay.", "Breaker.", "heartbeat:"))
    return 1 if alone else times


def run_lane(number: int, folder: Path, urls: tuple[str, str], work: Any, answers: Any) -> None:
    """A process of its own: takes what is to be done, answers with what came of it. `None` ends it."""
    lane = None
    try:
        folder.mkdir()
        lane = Lane(folder, *urls)
        lane.start()
        while (job := work.get()) is not None:
            answers.put(_do(lane, job))
        answers.put((number, "audit", lane.audit()))
    except BaseException as error:
        answers.put((number, "broke", [f"lane {number}: {error!r}"]))
        raise
    finally:
        if lane is not None:
            lane.close()


def _do(lane: Lane, job: Any) -> Any:
    if isinstance(job, Death):
        return job, "died", lane.die(job)
    if job == "start":
        return job, "recorded", lane.record_start()
    return job, "recorded", lane.record(job)


class Run:
    """All lanes, and what they have said."""

    def __init__(self, folder: Path, lanes: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._node, self._postgres = provide_rabbitmq(print), provide_postgres()
        self.work, self.answers = spawn.Queue(), spawn.Queue()
        self.lanes = []
        for number in range(lanes):
            urls = (self._node.url(self._node.create_vhost()), self._postgres.url(self._postgres.create_database()))
            arguments = (number, folder / f"lane{number}", urls, self.work, self.answers)
            self.lanes.append(spawn.Process(target=run_lane, args=arguments))
        for lane in self.lanes:
            lane.start()

    def all(self, jobs: Sequence[Any]) -> list[Any]:
        """Have all of this done; raises RuntimeError when a lane broke."""
        for job in jobs:
            self.work.put(job)
        done = []
        for _ in jobs:
            answer = self.answers.get(timeout=600)
            if answer[1] == "broke":
                raise RuntimeError(answer[2][0])
            done.append(answer)
            if answer[1] == "died" and (answer[2] or len(done) % 20 == 0):
                print(f"{len(done)}/{len(jobs)} {answer[0]}: {answer[2] or 'fine'}", flush=True)
        return done

    def close(self) -> list[str]:
        """End the lanes; what their audits found."""
        for _ in self.lanes:
            self.work.put(None)
        found = [words for _ in self.lanes for words in self.answers.get(timeout=600)[2]]
        for lane in self.lanes:
            lane.join(60)
        return found

    def clear(self) -> None:
        for lane in self.lanes:
            if lane.is_alive():
                lane.kill()
        self._postgres.close()
        self._node.close()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kills")
    parser.add_argument("--lanes", type=int, default=3 * (os.cpu_count() or 2))
    parser.add_argument("--only", help="this stage")
    parser.add_argument("--behaviours", default=",".join(BEHAVIOURS))
    parser.add_argument("--at", help="POINT#NTH: this death only")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="daifu-kills-"))
    began = time.monotonic()
    run = Run(folder, given.lanes)
    try:
        ok = _play(run, given, began)
    finally:
        run.clear()
    if ok:
        shutil.rmtree(folder)
    else:
        print(f"logs and journals: {folder}")
    return 0 if ok else 1


def _play(run: Run, given: argparse.Namespace, began: float) -> bool:
    behaviours = given.behaviours.split(",")
    recorded = {job: found for job, _said, found in run.all(["start", *behaviours])}
    deaths = deaths_at_start(behaviours[0], recorded.pop("start"), recorded.values())
    deaths += [death for behaviour, passed in recorded.items() for death in deaths_of(behaviour, passed)]
    if given.only:
        deaths = [death for death in deaths if death.stage == given.only]
    if given.at:
        deaths = [death for death in deaths if f"{death.point}#{death.nth}" == given.at]
    print(f"{len(deaths)} deaths to die; recorded after {time.monotonic() - began:.0f} s", flush=True)
    never = Death("payment", "submit:never", 1, "ok")
    canary = run.all([never])[0][2]
    found_out = canary.startswith(STILL_ALIVE)
    results = run.all(deaths)
    failures = [(death, words) for death, _said, words in results if words]
    audits = run.close()
    for death, words in failures:
        print(f"FAILED {death}: {words}")
    for words in audits:
        print(f"AUDIT {words}")
    happened = sum(not words.startswith(STILL_ALIVE) for _death, _said, words in results)
    points = {(death.stage, death.point) for death in deaths}
    print(
        f"{len(points)} points x {len(behaviours)} behaviours: {len(deaths)} kills, {happened} of them really happened, "
        f"{len(failures)} failed, {len(audits)} audits broken, canary {'found out' if found_out else 'NOT FOUND OUT'}, "
        f"{time.monotonic() - began:.0f} s"
    )
    return bool(deaths) and not failures and not audits and happened == len(deaths) and found_out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
