"""How long an order takes from accepted to its callback: `python -m tests.benchmarks.latency [--peak ORDERS_PER_S]`.

Idle: one order every half second, upstreams that answer at once. At half of peak: orders sent at half the rate that
`daifu bench` reaches (measured first unless given). Milliseconds, median and 99th percentile. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Final

from pipeline.cli.bench import trial
from pipeline.cli.bench.trial import Asked
from tests.benchmarks.servers import Servers, note, servers

IDLE_PER_S: Final = 2.0
IDLE_ORDERS: Final = 100
BUSY_S: Final = 15.0
PEAK_ORDERS: Final = 2_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.latency", description=__doc__)
    parser.add_argument("--peak", type=float, help="orders per second; measured when not given")
    asked = parser.parse_args()
    with servers() as there:
        idle = _run(there, Asked("A", IDLE_ORDERS, {}, IDLE_PER_S))
        peak = asked.peak or _run(there, Asked("A", PEAK_ORDERS, {}))["orders_per_s"]
        busy = _run(there, Asked("A", int(peak / 2 * BUSY_S), {}, peak / 2))
    print("| | orders/s | p50 ms | p99 ms | all ended once |\n|---|---:|---:|---:|---|")
    for name, row in (("idle", idle), (f"half of peak ({peak:.0f})", busy)):
        latency = row["latency_ms"]
        fine = "yes" if row["audit_ok"] and row["ended_once"] else "NO"
        print(f"| {name} | {row['orders_per_s']} | {latency['p50']} | {latency['p99']} | {fine} |")
    return 0


def _run(there: Servers, asked: Asked) -> dict[str, Any]:
    note(f"{asked.orders} orders, {asked.per_s or 'as fast as they go'} a second")
    return asyncio.run(trial.run(there.settings(), asked))


if __name__ == "__main__":
    raise SystemExit(main())
