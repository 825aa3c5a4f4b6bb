"""A and B against the real sandbox over HTTP: `python -m tests.benchmarks.over_http [--scenario B] [--orders 1000]`.

12306, the cashier and the agents run in a process of their own with their journal on disk; daifu calls them with its production
clients. CPU of every process per order, so that it shows where the time goes. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from pipeline.cli.bench import trial
from pipeline.cli.bench.trial import Asked, Elsewhere
from pipeline.cli.bench.upstreams import WARM_UP
from tests.benchmarks.sandbox_process import Plan, sandbox
from tests.benchmarks.servers import Servers, note, servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.over_http", description=__doc__)
    parser.add_argument("--scenario", choices=tuple(trial.SCENARIOS), action="append", help="both unless given")
    parser.add_argument("--orders", type=int, default=1_000)
    asked = parser.parse_args()
    with servers() as there:
        rows = [_run(there, Asked(name, asked.orders, {})) for name in asked.scenario or trial.SCENARIOS]
    names = list(rows[0]["cpu_s"])
    print(f"| scenario | orders/s | in flight | p50 / p99 ms | {' | '.join(names)} | all ended once |")
    print(f"|---|---:|---:|---|{'---:|' * len(names)}---|")
    for row in rows:
        spent = " | ".join(f"{row['cpu_s'][name] / row['orders'] * 1000:.2f}" for name in names)
        latency, fine = row["latency_ms"], row["audit_ok"] and row["ended_once"]
        print(
            f"| {row['scenario']} | {row['orders_per_s']} | {row['in_flight_max']} | {latency['p50']} / {latency['p99']} | "
            f"{spent} | {'yes' if fine else 'NO'} |"
        )
    print("CPU in ms per order")
    return 0


def _run(there: Servers, asked: Asked) -> dict[str, Any]:
    note(f"{asked.orders} orders, scenario {asked.scenario}")
    pay_s, callback_s = trial.SCENARIOS[asked.scenario]
    with sandbox(Plan(WARM_UP + asked.orders, pay_s, callback_s)) as outside:
        elsewhere = Elsewhere(outside.process.pid, outside.callback, outside.key, outside.seen)
        return asyncio.run(trial.run(there.settings_for(outside), asked, elsewhere=elsewhere))


if __name__ == "__main__":
    raise SystemExit(main())
