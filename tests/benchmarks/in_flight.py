"""Payments in flight in one payment worker over real HTTP, and its memory: `python -m tests.benchmarks.in_flight [--payments 4000]`.

The orders wait, ready to be paid, when the one payment worker starts. 12306 and the cashier are the sandbox in a process of its
own; each of its answers takes `--answer-s` seconds, the payment's too. In flight: attempts that are open at once, by the
database. Memory: the most that the worker ever held (VmHWM). Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import select

from pipeline.cli.bench import orders, trial
from pipeline.cli.bench.fleet import Processes
from pipeline.cli.bench.ground import Ground, add_agents, ground
from pipeline.cli.bench.meter import cpu_s, memory_mb, peak_mb
from pipeline.cli.bench.process import Plan
from pipeline.cli.bench.upstreams import Witness
from pipeline.cli.house import House
from pipeline.states import PurchaseState
from pipeline.store import bench
from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts
from pipeline.vault import KeyRing
from tests.benchmarks import sandbox_process
from tests.benchmarks.sandbox_process import Sandbox
from tests.benchmarks.servers import Servers, servers

STAGE: Final = "payment"
LOOK_S: Final = 0.1
SILENCE_S: Final = 120.0  # the first payment ends after some fifteen answers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.in_flight", description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000)
    parser.add_argument("--answer-s", type=float, default=2.0)
    asked = parser.parse_args()
    with servers() as there:
        row = _run(there, asked.payments, asked.answer_s)
    print("| payments | in flight | idle MB | peak MB | kB each | CPU ms each | s in all | all ended once |")
    print("|---:|---:|---:|---:|---:|---:|---:|---|")
    each_kb = (row["peak"] - row["idle"]) / row["in_flight"] * 1024
    print(
        f"| {asked.payments} | {row['in_flight']} | {row['idle']:.0f} | {row['peak']:.0f} | {each_kb:.0f} | "
        f"{row['cpu_s'] / asked.payments * 1000:.1f} | {row['took_s']:.0f} | {'yes' if row['fine'] else 'NO'} |"
    )
    return 0


def _run(there: Servers, payments: int, answer_s: float) -> dict[str, Any]:
    plan = sandbox_process.Plan(payments, pay_s=answer_s, answer_s=answer_s)
    with sandbox_process.sandbox(plan) as outside, ground(there.settings_for(outside)) as own:
        house = own.house("driver")
        add_agents(house, outside.callback, outside.key)
        everything = Plan(own.prefix, own.departure_at.isoformat(), 0.0, 0.0, over_http=True)
        fleet = Processes(own, everything, {STAGE: 0})
        try:
            row = asyncio.run(_measured(own, house, fleet, payments))
            witness = asyncio.run(_stopped(fleet, house, outside))
        finally:
            fleet.kill()
        judged = trial.judged(own, row, witness, payments)
        return {**judged, "fine": judged["audit_ok"] and judged["ended_once"]}


async def _measured(own: Ground, house: House, fleet: Processes, payments: int) -> dict[str, Any]:
    await fleet.ready()
    outbox = house.broker.outbox()
    await orders.publish(
        outbox, orders.messages(KeyRing.load(own.settings.vault_path).public, own.departure_at, 0, payments)
    )
    await outbox.close()
    first, last = trial.span(0, payments)
    while house.store.read(lambda tx: bench.states(tx, first, last)).get(PurchaseState.READY) != payments:
        fleet.require_running()
        await asyncio.sleep(LOOK_S)
    fleet.start(STAGE)
    await fleet.ready()
    pids = fleet.pids()[STAGE]
    idle, spent, began = memory_mb(pids), cpu_s(pids), asyncio.get_running_loop().time()
    await trial.ended(house, fleet, 0, payments, SILENCE_S)
    return {
        "idle": idle,
        "peak": peak_mb(pids),
        "cpu_s": cpu_s(pids) - spent,
        "took_s": asyncio.get_running_loop().time() - began,
        "in_flight": house.store.read(most_open),
    }


def most_open(tx: Transaction) -> int:
    """The most attempts that were open at the same moment."""
    rows = tx.rows(select(attempts.c.opened_at, attempts.c.concluded_at))
    steps = sorted([(row.opened_at, 1) for row in rows] + [(row.concluded_at, -1) for row in rows])
    return max(accumulate(step for _at, step in steps))


async def _stopped(fleet: Processes, house: House, outside: Sandbox) -> Witness:
    await fleet.stop()
    await house.close()
    return outside.seen()


if __name__ == "__main__":
    raise SystemExit(main())
