"""What is left of the throughput when payments take time: `python -m tests.benchmarks.share [--orders 4000] [--runs 3]`.

Scenario B (a payment 500 ms, a callback 50 ms; one payment worker) against scenario A, in turn, medians. Not part of `make test`.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

from pipeline.cli.bench.trial import SCENARIOS
from tests.benchmarks.servers import servers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.share", description=__doc__)
    parser.add_argument("--orders", type=int, default=4_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCENARIOS}
    with servers() as there:
        for _ in range(asked.runs):
            for name, some in rows.items():
                some.append(there.bench(name, asked.orders))
    print(
        "| scenario | orders/s (runs) | in flight | CPU ms per order, ours | all ended once |\n|---|---|---:|---:|---|"
    )
    for name, some in rows.items():
        runs = " ".join(f"{row['orders_per_s']:.0f}" for row in some)
        fine = "yes" if all(row["audit_ok"] and row["ended_once"] for row in some) else "NO"
        print(
            f"| {name} | {_rate(some):.0f} ({runs}) | {max(row['in_flight_max'] for row in some)} | "
            f"{median(row['cpu_s_per_1000'] for row in some):.2f} | {fine} |"
        )
    print(f"share: {_rate(rows['B']) / _rate(rows['A']):.2f}")
    return 0


def _rate(rows: list[dict[str, Any]]) -> float:
    return float(median(row["orders_per_s"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
