"""How long 订单统计 takes on a database as it looks after a year: `python -m tests.benchmarks.statistics [--orders 1000000]`.

Orders and purchases of `fill` with the days of one year, fifty agents; milliseconds of each span, the median of several reads
through the function that the page calls. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import date, timedelta
from statistics import median
from string import Template
from typing import Final

import psycopg

from pipeline.clock import WallClock
from pipeline.matching import SHANGHAI
from pipeline.store import migrate
from pipeline.store.engine import Store, open_store
from pipeline.store.queries_statistics import statistics
from tests.benchmarks.fill import DAY_US, NOW, TEMPLATES
from tests.contract.store_subjects import read
from tests.services.providers import provide_postgres

YEAR_US: Final = 365 * DAY_US
SPANS: Final = ((1, None), (30, None), (30, "agent7"), (92, None))  # days back from yesterday, of one agent or of all
READS: Final = 5


def fill_a_year(url: str, orders: int) -> None:
    words = {
        "no": "'fill' || lpad(i::text, 16, '0')",
        "t": f"{NOW} - i::bigint * {YEAR_US // orders}",
        "of_orders": f"FROM generate_series(1, {orders}) i",
    }
    migrate.upgrade(url)
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        for template in TEMPLATES[:2]:
            connection.execute(Template(template).substitute(words).encode())
        connection.execute("VACUUM ANALYZE")


def measure(store: Store, last: date, days: int, agent: str | None) -> dict[str, object]:
    """One span: how many orders are in it, and how long a read takes."""
    first, took, orders = last - timedelta(days=days - 1), [], 0
    for _ in range(READS):
        began = time.perf_counter()
        rows = read(store, statistics, first, last, agent)
        took.append((time.perf_counter() - began) * 1000)
        orders = sum(int(row["orders"]) for row in rows)
    shown = {"first_ms": round(took[0], 1), "median_ms": round(median(took), 1)}
    return {"days": days, "agent": agent or "all", "orders": orders, **shown}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000)
    wanted = parser.parse_args(arguments)
    server = provide_postgres()
    try:
        url = server.url(server.create_database())
        fill_a_year(url, wanted.orders)
        store = open_store(url, WallClock(), pool_size=1)
        last = WallClock().now().astimezone(SHANGHAI).date() - timedelta(days=1)
        for days, agent in SPANS:
            print(json.dumps(measure(store, last, days, agent)), flush=True)
        store.close()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
