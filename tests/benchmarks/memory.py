"""Memory of an idle worker, and of all five stages with the relay: `python -m tests.benchmarks.memory [--python PYTHON]`.

MB per process as VmRSS (shared pages count in each) and as PSS (shared pages are divided), some seconds after each is ready. They
are `daifu worker STAGE` and `daifu relay` as in production, with what they need of HTTP. `PYTHON` is of an environment with the
packages of `requirements.lock` alone, as the image has; this one has the tests' packages too, and some of them are loaded
wherever they are found. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from pipeline.broker import declare
from pipeline.broker.topology import STAGES
from pipeline.cli.bench.ground import add_agents
from pipeline.cli.bench.meter import memory_mb
from pipeline.cli.home import prepare_home
from pipeline.cli.house import open_house
from pipeline.store import migrate
from tests.benchmarks.servers import Servers, servers

REST_S: Final = 5.0
WITHIN_S: Final = 60.0
DAIFU: Final = "import sys; from pipeline.cli import main; sys.argv[0] = 'daifu'; main()"
ROOT: Final = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="whose packages the processes run on")
    asked = parser.parse_args()
    with servers() as there, tempfile.TemporaryDirectory(prefix="daifu-memory-") as folder:
        home = Path(folder)
        settings = there.settings().model_copy(update={"home": home})
        prepare_home(settings)
        migrate.upgrade(settings.database)
        declare.apply(settings.broker_url)
        house = open_house(settings, "memory")
        add_agents(house)
        asyncio.run(house.close())
        rows = _measured(there, home, asked.python)
    print("| process | RSS MB | PSS MB |\n|---|---:|---:|")
    for name, (rss, pss) in rows.items():
        print(f"| {name} | {rss:.0f} | {pss:.0f} |")
    print(f"| together | {sum(rss for rss, _ in rows.values()):.0f} | {sum(pss for _, pss in rows.values()):.0f} |")
    return 0


def _measured(there: Servers, home: Path, python: Path) -> dict[str, tuple[float, float]]:
    """RSS and PSS in MB, by process."""
    nowhere = {"DAIFU_RAILWAY_URL": "http://127.0.0.1:9", "DAIFU_CASHIER_URL": "http://127.0.0.1:9"}
    environment = {**there.environment(), **nowhere, "DAIFU_HOME": str(home), "PYTHONPATH": str(ROOT)}
    commands = {**{stage: ("worker", stage) for stage in STAGES}, "relay": ("relay",)}
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, words in commands.items():
            with (home / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen([str(python), "-c", DAIFU, *words], env=environment, stderr=log)
        end = time.monotonic() + WITHIN_S
        while not all('"event": "ready"' in (home / f"{name}.log").read_text() for name in running):
            if time.monotonic() > end:
                raise TimeoutError("a process did not become ready")
            time.sleep(0.1)
        time.sleep(REST_S)
        return {name: (memory_mb([process.pid]), pss_mb(process.pid)) for name, process in running.items()}
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()


def pss_mb(pid: int) -> float:
    """Proportional set size, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
