"""Thousands of seeds on all cores: `python -m tests.simulation.deep --seeds 2000 --orders 20`. Part of `make test-deep`.

Prints what fails as it fails, and at the end one line with the figures. Every kind of fault and every act of a person must have
happened somewhere, and every build that is broken on purpose must be found: a swarm that never strikes proves nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from pipeline.cli.simulation.people import ACTS
from pipeline.cli.simulation.seeds import HOURS, ORDERS, quiet, run_seed
from pipeline.cli.simulation.verdict import Verdict
from tests.simulation import mutants

FAULTS = (
    "death",
    "double_death",
    "freeze",
    "statement",
    "before_commit",
    "commit_unknown_lost",
    "commit_unknown_stored",
    "publish_before",
    "publish_after",
    "lost_answer",
    "form_in_flight",
    "connections_lost",
    "connections",
    "broker_down",
    "disk_lost",
    "database_away",
    "outage",
    "skew",
    "wrong_clock",
    "clock_set_back",
    "agents_fail",
    "relay_away",
    "redeploy",
)
FEWEST_FOR_COVERAGE = 200  # a handful of seeds need not meet everything
PROGRESS_EVERY = 50


def _prepare() -> None:
    os.nice(5)
    quiet()
    gc.freeze()  # the product's code and compiled statements live as long as the process


def missing(happened: Counter[str]) -> list[str]:
    """Faults and acts that never happened, or never ended well."""
    acts = Counter(name.partition(":")[0] for name in happened.elements())
    return [name for name in (*FAULTS, *ACTS) if not happened[name] and not acts[name]]


def _unnoticed(name: str) -> str | None:
    """The name of a broken build that no seed finds: then the alarm itself is broken."""
    mutant = next(one for one in mutants.CAUGHT_BY if one.__name__ == name)
    return name if mutants.catching_seed(mutant) is None else None


def run(seeds: Sequence[int], orders: int, hours: float, processes: int) -> int:
    """Run them all; how many failed, with what never happened and broken builds that nobody noticed."""
    began, failed, events, done_orders = time.monotonic(), 0, 0, 0
    happened: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare) as pool:
        alarms = [pool.submit(_unnoticed, mutant.__name__) for mutant in mutants.CAUGHT_BY]
        runs = [pool.submit(run_seed, seed, orders, hours) for seed in seeds]
        for number, future in enumerate(as_completed(runs), 1):
            verdict = future.result()
            happened.update(verdict.happened)
            outcomes.update(verdict.outcomes)
            events += verdict.events
            done_orders += verdict.orders
            if not verdict.ok:
                failed += 1
                _tell(verdict, hours)
            if number % PROGRESS_EVERY == 0:
                print(f"{number}/{len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
        unnoticed = [name for name in (alarm.result() for alarm in alarms) if name is not None]
    never = missing(happened) if len(seeds) >= FEWEST_FOR_COVERAGE else []
    figures = {
        "ok": not (failed or never or unnoticed),
        "seeds": len(seeds),
        "failed": failed,
        "orders": done_orders,
        "events": events,
        "outcomes": dict(sorted(outcomes.items())),
        "faults": {name: happened[name] for name in FAULTS},
        "acts": dict(sorted((name, count) for name, count in happened.items() if ":" in name)),
        "never_happened": never,
        "broken_builds": len(alarms),
        "unnoticed_builds": unnoticed,
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(figures, ensure_ascii=False), flush=True)
    return failed + len(never) + len(unnoticed)


def _tell(verdict: Verdict, hours: float) -> None:
    print(f"FAILED: daifu simulate --seed {verdict.seed} --orders {verdict.orders} --hours {hours:g}", flush=True)
    for words in verdict.broken[:10]:
        print(f"    {words[:500]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    sys.exit(1 if run(seeds, given.orders, given.hours, given.processes) else 0)


if __name__ == "__main__":
    main()
