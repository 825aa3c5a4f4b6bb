"""What the SQL of each stage costs: `python -m tests.benchmarks.stage_sql [--orders 300] [--batches 4]`.

CPU microseconds per order, never wall time: in the client while a transaction is open (SQLAlchemy, the driver, the stage's own
Python), in the rest of the client (parsing, calls), and in PostgreSQL's backend. No broker. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import text

from pipeline.clock import WallClock
from pipeline.store import migrate
from pipeline.store.engine import Done, Store, Transaction, open_store
from tests.contract.stage_batches import Stages, statements_of
from tests.services.providers import provide_postgres

T = TypeVar("T")


class Meter:
    """CPU time by part of a stage, in µs: inside of transactions, outside of them, and in the backend."""

    def __init__(self, store: Store) -> None:
        self.store, self._part = store, ""
        self.client: dict[str, float] = defaultdict(float)
        self.rest: dict[str, float] = defaultdict(float)
        self.backend: dict[str, float] = defaultdict(float)
        self.statements: dict[str, int] = defaultdict(int)
        self._write = store.write
        store.write = self._metered  # type: ignore[method-assign] # measured from outside, whoever calls it
        self._pid = 0
        if store.engine.dialect.name == "postgresql":
            self._pid = int(store.read(lambda tx: tx.run(text("SELECT pg_backend_pid()")).scalar_one()))

    def _metered(self, work: Callable[[Transaction], T]) -> Done[T]:
        began, backend = time.process_time(), self._backend_us()
        done = self._write(work)
        self.client[self._part] += (time.process_time() - began) * 1e6
        self.backend[self._part] += self._backend_us() - backend
        return done

    def _backend_us(self) -> float:
        if not self._pid:
            return 0.0
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0]) / 1e3

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._part = name
        began, inside = time.process_time(), self.client[name]
        with statements_of(self.store) as executed:
            yield
        whole = (time.process_time() - began) * 1e6
        self.rest[name] += whole - (self.client[name] - inside)
        self.statements[name] += len(executed)


def measure(url: str, orders: int, batches: int) -> None:
    migrate.upgrade(url)
    store = open_store(url, WallClock(), pool_size=1)
    meter = Meter(store)
    stages = Stages(store, meter.part)
    stages.all_the_way(range(orders))  # warm: statements compiled, caches filled
    for kept in (meter.client, meter.rest, meter.backend, meter.statements):
        kept.clear()
    for batch in range(1, batches + 1):
        stages.all_the_way(range(batch * orders, (batch + 1) * orders))
    report(store.engine.dialect.name, meter, orders, batches)
    store.close()


def report(name: str, meter: Meter, orders: int, batches: int) -> None:
    done = orders * batches
    print(f"{name}: µs CPU per order, batches of {orders}")
    print(f"{'':24}{'transactions':>14}{'other Python':>14}{'backend':>10}{'statements per batch':>22}")
    columns: list[dict[str, Any]] = [meter.client, meter.rest, meter.backend]
    for part in meter.client:
        figures = [column[part] / done for column in columns]
        print(
            f"{part:24}{figures[0]:14.0f}{figures[1]:14.0f}{figures[2]:10.0f}{meter.statements[part] / batches:22.1f}"
        )
    sums = [sum(column.values()) / done for column in columns]
    print(f"{'all':24}{sums[0]:14.0f}{sums[1]:14.0f}{sums[2]:10.0f}{sum(meter.statements.values()) / batches:22.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--only", choices=("postgresql", "sqlite"))
    parser.add_argument("--url", help="measure this database instead of fresh ones")
    wanted = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if wanted.url:
        measure(wanted.url, wanted.orders, wanted.batches)
        return
    if wanted.only != "sqlite":
        server = provide_postgres(ours=True)
        try:
            measure(server.url(server.create_database()), wanted.orders, wanted.batches)
        finally:
            server.close()
    if wanted.only != "postgresql":
        with tempfile.TemporaryDirectory() as directory:
            measure(f"sqlite:///{directory}/store.sqlite3", wanted.orders, wanted.batches)


if __name__ == "__main__":
    main()
