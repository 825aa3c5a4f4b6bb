"""How the stages scale: `python -m tests.benchmarks.scaling share|come-and-go|queued [--orders N]`.

share         1, 2 and 4 workers of every stage: what each of them did, orders per second, bytes per order in PostgreSQL
come-and-go   workers of every stage start and stop (SIGTERM) while orders flow; all orders end once, by the tables, the audit and
              what the upstreams saw
queued        so many requests in `daifu.intake`, then an intake worker: its memory while it works them off

On the servers that the tests take (see tests/services), one process per worker. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from pipeline.broker.port import Outgoing
from pipeline.broker.topology import STAGES
from pipeline.cli.bench import orders, trial
from pipeline.cli.bench.fleet import Processes
from pipeline.cli.bench.ground import Ground, add_agents, ground
from pipeline.cli.bench.meter import memory_mb
from pipeline.cli.bench.process import Plan, witness_path
from pipeline.cli.bench.trial import Asked
from pipeline.cli.bench.upstreams import WARM_UP, Witness
from pipeline.cli.house import House
from pipeline.vault import KeyRing
from tests.benchmarks.servers import Servers, note, servers

WORKERS: Final = (1, 2, 4)
AT_ONCE: Final = 1_000
WATCH_S: Final = 40.0
_DONE: Final = re.compile(r'^daifu_critical_time_seconds_count\{stage="(\w+)"\} (\S+)$', re.MULTILINE)
SIZES: Final = text(
    "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace"
    " AND c.relkind = 'r'"
)


class Crew(Processes):
    """Workers that come and go; what those that left had seen is kept."""

    def __init__(self, own: Ground, plan: Plan, count: int) -> None:
        super().__init__(own, plan, dict.fromkeys(STAGES, count))
        self._number = count
        self._left = Witness()

    def join(self, stage: str) -> None:
        self._number += 1
        self.start(stage, self._number)

    async def leave(self, stage: str) -> None:
        """The longest there drains and ends; its stage keeps at least one."""
        if len(self._running[stage]) < 2:
            return
        process = self._running[stage].pop(0)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0, self._logs[process.pid].read_text()[-2000:]
        del self._logs[process.pid]
        self._left.add(witness_path(self._plan, stage, process.pid))

    async def stop(self) -> Witness:
        seen = await super().stop()
        seen.taken.update(self._left.taken)
        seen.told.update(self._left.told)
        return seen

    def done(self) -> dict[str, list[int]]:
        """Steps that each running worker has finished, by stage."""
        found: dict[str, list[int]] = {stage: [] for stage in STAGES}
        for path in self._logs.values():
            for stage, count in _DONE.findall(_metrics(path)):
                if path.name.startswith(stage):
                    found[stage].append(int(float(count)))
        return found


def _metrics(log: Path) -> str:
    ready = next(line for line in log.read_text().splitlines() if '"event": "ready"' in line)
    with urllib.request.urlopen(f"http://{json.loads(ready)['health']}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


async def share(there: Servers, count: int, wanted: int) -> dict[str, Any]:
    """One run with so many workers of every stage."""
    with ground(there.settings()) as own:
        house = own.house("driver")
        add_agents(house)
        crew = Crew(own, Plan(own.prefix, own.departure_at.isoformat(), 0.0, 0.0), count)
        try:
            await crew.ready()
            await trial._warm_up(own, house, crew)
            before, done_before = _size(house), crew.done()
            row = await trial._measured(own, house, crew, Asked("A", wanted, {}), ())
            grown, done = _size(house) - before, crew.done()
            witness = await crew.stop()
        finally:
            crew.kill()
            await house.close()
        row = trial.judged(own, row, witness, WARM_UP + wanted)
    shares = {
        stage: [after - was for after, was in zip(done[stage], done_before[stage], strict=True)] for stage in STAGES
    }
    return {**row, "workers": count, "shares": shares, "bytes_per_order": round(grown / wanted)}


def _size(house: House) -> int:
    """Bytes of all tables and indexes, live rows only: what updates left behind is cleared away before."""
    with house.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM FULL"))
        return int(connection.execute(SIZES).scalar_one())


async def come_and_go(there: Servers, wanted: int, seed: int) -> dict[str, Any]:
    """Every second a worker of some stage comes or goes, while payments take 500 ms each."""
    whim = random.Random(seed)
    with ground(there.settings()) as own:
        house = own.house("driver")
        add_agents(house)
        crew = Crew(own, Plan(own.prefix, own.departure_at.isoformat(), *trial.SCENARIOS["B"]), 2)
        changes = {"joined": 0, "left": 0}

        async def change() -> None:
            while True:
                await asyncio.sleep(1.0)
                stage = whim.choice(STAGES)
                if len(crew.pids()[stage]) < whim.choice((2, 3, 4)):
                    crew.join(stage)
                    changes["joined"] += 1
                else:
                    await crew.leave(stage)
                    changes["left"] += 1

        try:
            await crew.ready()
            await trial._warm_up(own, house, crew)
            changing = asyncio.ensure_future(change())
            row = await trial._measured(own, house, crew, Asked("B", wanted, {}, per_s=150.0), ())
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
            await crew.ready()  # the last that joined must have registered before it is told to stop
            witness = await crew.stop()
        finally:
            crew.kill()
            await house.close()
        return {**trial.judged(own, row, witness, WARM_UP + wanted), **changes, "seed": seed}


def copies(own: Ground, count: int) -> Iterator[list[Outgoing]]:
    """Requests of different orders, made from one by its numbers, a few thousand at a time: a million would fill the memory."""
    key = KeyRing.load(own.settings.vault_path).public
    (one,) = orders.messages(key, own.departure_at, 0, 1)
    first = (orders.order_no(0).encode(), orders.hold_no(0).encode(), b'"id":"bench-0"')
    assert all(part in one.body for part in first)
    for start in range(WARM_UP, WARM_UP + count, AT_ONCE):
        batch = []
        for number in range(start, min(start + AT_ONCE, WARM_UP + count)):
            parts = (
                orders.order_no(number).encode(),
                orders.hold_no(number).encode(),
                f'"id":"bench-{number}"'.encode(),
            )
            body = one.body
            for old, new in zip(first, parts, strict=True):
                body = body.replace(old, new)
            batch.append(Outgoing(one.exchange, one.routing_key, body, one.content_type))
        yield batch


async def queued(there: Servers, wanted: int) -> dict[str, Any]:
    """Fill the queue, then watch an intake worker's memory."""
    with ground(there.settings()) as own:
        house = own.house("driver")
        add_agents(house)
        outbox = house.broker.outbox()
        began = time.monotonic()
        for batch in copies(own, wanted):
            await outbox.publish(batch)
        published_s = time.monotonic() - began
        await outbox.close()
        crew = Processes(
            own,
            Plan(own.prefix, own.departure_at.isoformat(), 0.0, 0.0),
            dict.fromkeys((*STAGES, "relay"), 0) | {"intake": 1},
        )
        try:
            await crew.ready()
            samples = []
            until = time.monotonic() + WATCH_S
            while time.monotonic() < until:
                await asyncio.sleep(1.0)
                crew.require_running()
                samples.append(round(memory_mb(crew.pids()["intake"]), 1))
            accepted = house.store.read(lambda tx: tx.run(text("SELECT count(*) FROM orders")).scalar_one())
        finally:
            crew.kill()
            await house.close()
    return {
        "queued": wanted,
        "published_per_s": round(wanted / published_s),
        "watched_s": WATCH_S,
        "accepted": accepted,
        "rss_mb": {"after_1_s": samples[0], "after_10_s": samples[9], "most": max(samples), "last": samples[-1]},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("what", choices=("share", "come-and-go", "queued"))
    parser.add_argument("--orders", type=int, default=None, help="share 4,000, come-and-go 3,000, queued 1,000,000")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    with servers() as there:
        if asked.what == "share":
            rows = []
            for count in WORKERS:
                note(f"{count} workers of every stage")
                rows.append(asyncio.run(share(there, count, asked.orders or 4_000)))
        elif asked.what == "come-and-go":
            rows = [asyncio.run(come_and_go(there, asked.orders or 3_000, asked.seed))]
        else:
            rows = [asyncio.run(queued(there, asked.orders or 1_000_000))]
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    return 0 if all(row.get("audit_ok", True) and row.get("ended_once", True) for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
