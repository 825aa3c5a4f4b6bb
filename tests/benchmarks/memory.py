"""Memory of an idle worker, and of all five stages with the relay: `python -m tests.benchmarks.memory [--python PYTHON]`.

MB per process as VmRSS (shared pages count in each) and as PSS (shared pages are divided), some seconds after the start. `PYTHON`
is of an environment with the packages of `requirements.lock` alone, as the image has; this one has the tests' packages too, and
some of them are loaded wherever they are found. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from pipeline.cli.bench.fleet import Processes
from pipeline.cli.bench.ground import add_agents, ground
from pipeline.cli.bench.meter import memory_mb
from pipeline.cli.bench.process import Plan
from tests.benchmarks.servers import servers

REST_S: Final = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="whose packages the processes run on")
    asked = parser.parse_args()
    with servers() as there, ground(there.settings()) as own:
        house = own.house("driver")
        add_agents(house)
        processes = Processes(own, Plan(own.prefix, own.departure_at.isoformat(), 0.0, 0.0), {}, asked.python)
        try:
            asyncio.run(processes.ready())
            time.sleep(REST_S)
            rows = {stage: (memory_mb(pids), sum(map(pss_mb, pids))) for stage, pids in processes.pids().items()}
        finally:
            processes.kill()
            asyncio.run(house.close())
    print("| process | RSS MB | PSS MB |\n|---|---:|---:|")
    for stage, (rss, pss) in rows.items():
        print(f"| {stage} | {rss:.0f} | {pss:.0f} |")
    print(f"| together | {sum(rss for rss, _ in rows.values()):.0f} | {sum(pss for _, pss in rows.values()):.0f} |")
    return 0


def pss_mb(pid: int) -> float:
    """Proportional set size, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
