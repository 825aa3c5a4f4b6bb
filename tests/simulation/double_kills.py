"""A second death during the recovery from the first: every pair of points, every behaviour (`make test-deep`).

    python -m tests.simulation.double_kills [BEHAVIOUR…] [--into FILE] [--processes N]

Not cheap: a second death is a run of 0.07 s of CPU. Most behaviours have about a thousand; the seven whose questions are
asked until the hold is over have seven thousand each.

A recovery is over when the stage that died has a successor and nothing left to do (`CrashHouse.has_recovered`). A death after that finds
what a first one finds.

What counts as one point, and why, is said in `crash_points.py`; pairs are not merged any further. The first deaths of a behaviour
are dealt out to shards, so that all cores have work to the end; with `--into` each shard that is done is a line of that file, and
a run that was ended goes on with the next one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.simulation.crash_points import explore, silence_logs, warm_up
from tests.simulation.crash_points_tally import Tally, report
from tests.simulation.test_behaviours import BEHAVIOURS

DEATHS = 2
SHARDS = 12  # of a behaviour
Job = tuple[str, int]  # a behaviour, and which of its shards


def _die(job: Job) -> tuple[Job, Tally]:
    behaviour, number = job
    return job, explore(behaviour, DEATHS, shard=(number, SHARDS))


def _known(kept: Path | None) -> dict[Job, Tally]:
    """What an earlier run has written there."""
    if kept is None or not kept.exists():
        return {}
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return {(line["behaviour"], line["shard"]): Tally.from_json(line["tally"]) for line in lines}


def _explored(jobs: Sequence[Job], processes: int, kept: Path | None) -> Iterator[tuple[Job, Tally]]:
    """Each shard as it is done, and written down."""
    if not jobs:
        return
    warm_up()
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for (behaviour, number), tally in pool.imap_unordered(_die, jobs):
            if kept is not None:
                with kept.open("a", encoding="utf-8") as lines:
                    line = {"behaviour": behaviour, "shard": number, "tally": tally.to_json()}
                    lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            yield (behaviour, number), tally


def _whole(behaviours: Sequence[str], processes: int, kept: Path | None) -> Iterator[Tally]:
    """Each behaviour, once all of its shards are known."""
    known = _known(kept)
    jobs = [(behaviour, number) for behaviour in behaviours for number in range(SHARDS)]
    tallies = {behaviour: Tally(behaviour) for behaviour in behaviours}
    missing = dict.fromkeys(behaviours, SHARDS)
    done = ((job, known[job]) for job in jobs if job in known)
    for results in (done, _explored([job for job in jobs if job not in known], processes, kept)):
        for (behaviour, _number), tally in results:
            tallies[behaviour].add(tally)
            missing[behaviour] -= 1
            if not missing[behaviour]:
                yield tallies[behaviour]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.double_kills")
    parser.add_argument("behaviours", nargs="*", help="all of them unless some are named")
    parser.add_argument("--into", type=Path, help="keep what is done in this file, and leave out what stands there")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    silence_logs()
    wanted = given.behaviours or list(BEHAVIOURS)
    return report(_whole(wanted, given.processes, given.into), len(wanted), DEATHS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
