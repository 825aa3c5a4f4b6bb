"""The console's pages after years: `python -m tests.benchmarks.console [--url URL] [--orders 1000000] [--letters 10000]`.

On PostgreSQL: settled orders and queued work as `fill` writes them, as many acts in the audit log, dead letters in one group; then each
page is asked for through the application as a browser would get it, without a network, and all of the group is tried dry, replayed at
a rate and stopped half way, as `daifu serve` does it. `--url`: a database that `fill` has filled before. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from string import Template
from typing import Final

from sqlalchemy import text

from pipeline.clock import WallClock
from pipeline.executors import InlineExecutor
from pipeline.reasons import Reason
from pipeline.replay_runner import ReplayRunner
from tests.benchmarks import fill
from tests.services.providers import provide_postgres
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, Browser, House, console_at

ROUNDS: Final = 15
GROUP: Final = {"reason": "not_sent", "stage": "payment"}
ACTS: Final = (
    "INSERT INTO audit_log (at, actor, action, subject, detail, role, result, reason) SELECT n.id, 'human:user' || n.id % 40,"
    " 'dead_letters.replay', n.id::text, '{}', 'operator', 'done', 'invented ' || n.id FROM generate_series(1, :several) AS n(id)"
)
# The one dead letter that was made, with all it stands on, as often as wanted; numbers that must differ get one behind.
CLONES: Final = {
    "orders": {"order_no": "order_no || '-' || n"},
    "purchases": {
        "id": "order_no || '-' || n || '\\:1'",
        "order_no": "order_no || '-' || n",
        "held_order_no": "held_order_no || n",
    },
    "dead_letters": {
        "uid": "uid || '-' || n",
        "order_no": "order_no || '-' || n",
        "deadline": "last_at + 60000000 * CAST(n % 90 + 5 AS bigint)",
    },
}
CLONE: Final = Template(
    "INSERT INTO $table ($names) SELECT $values FROM $table, generate_series(1, $several) AS n WHERE order_no = :o"
)
PAGES: Final = (
    "/overview", "/orders", "/orders?agent=agent7", "/orders?state=ticketed", "/orders?reason=not_sent", "/orders/fill0000000000001000",
    "/dead-letters", "/dead-letters?reason=not_sent&stage=payment", "/dead-letters?text=xcslw", "/dead-letters?text=E1",
    "/dead-letters?state=all", "/dead-letters/1", "/dead-letters/replays", "/abnormal", "/tasks", "/controls", "/audit-log",
    "/audit-log?actor=user7", "/audit-log?action=dead_letters", "/audit-log?words=invented+77777", "/audit-log?words=no+such+words",
    "/api/v1/overview", "/api/v1/dead-letters/groups",
)  # fmt: skip


def make_letters(house: House, several: int) -> None:
    """That many open dead letters of one group, all of which a replay would take."""
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    order_no = orders.held_unpaid(Reason.NOT_SENT)

    for table, changed in CLONES.items():
        names = [column for column in _columns(house, table) if (table, column) != ("dead_letters", "id")]
        values = [changed.get(name, name) for name in names]
        words = {"table": table, "names": ", ".join(names), "values": ", ".join(values), "several": several - 1}
        statement = text(CLONE.substitute(words))
        house.write(lambda tx, statement=statement: tx.run(statement, {"o": order_no}))


def _columns(house: House, table: str) -> list[str]:
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = :t ORDER BY ordinal_position"
    return [str(row[0]) for row in house.read(lambda tx: tx.rows(text(sql), {"t": table}))]


def time_pages(browser: Browser) -> None:
    for page in PAGES:
        browser.get(page)
        took = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            status = browser.get(page).status
            took.append((time.perf_counter() - began) * 1000)
            assert status == 200, (page, status)
        print(f"{page:50} median {median(took):7.1f} ms   slowest {max(took):7.1f} ms", flush=True)


@contextmanager
def working(house: House) -> Iterator[None]:
    """Jobs are worked off on a thread of their own, as in the process that serves."""
    loop = asyncio.new_event_loop()
    runner = ReplayRunner(house.store, InlineExecutor(), house.desk.replay_rules, WallClock())
    thread = threading.Thread(target=lambda: loop.run_until_complete(runner.run()))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(runner.stop)
        thread.join()
        loop.close()


def replay_half(browser: Browser, rate: float, seconds: float) -> None:
    """A job over the whole group: how long its dry run takes, how many it replays in a time, whether it stops."""
    csrf = {"x-csrf-token": browser.csrf}
    began = time.perf_counter()
    job = browser.send_json("POST", "/api/v1/dead-letters/replays", {"all_found": True, **GROUP}, **csrf).json
    asked = time.perf_counter() - began
    here = f"/api/v1/dead-letters/replays/{job['id']}"
    while browser.get(here).json["state"] == "checking":
        time.sleep(0.1)
    found = browser.get(here).json
    print(f"dry run of {found['total']}: answered after {asked:.2f} s, done after {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    browser.send_json("POST", f"{here}/start", {"rate": rate, "agreed": None}, **csrf)
    time.sleep(seconds)
    stopped = browser.send_json("POST", f"{here}/stop", **csrf)
    took = time.perf_counter() - began
    time.sleep(1)
    found = browser.get(here).json
    print(
        f"replay at {rate:g}/s, stopped after {took:.1f} s ({stopped.status}): {found['replayed']} replayed, {found['refused']} refused, "
        f"{found['left_alone']} left alone, state {found['state']}"
    )


def measure(url: str, letters: int, acts: int, rate: float, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, console_at(url, Path(folder)) as house:
        house.write(lambda tx: tx.run(text(ACTS), {"several": acts}))
        make_letters(house, letters)
        with house.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        browser = house.signed_in("alice")
        time_pages(browser)
        with working(house):
            replay_half(browser, rate, seconds)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--letters", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    wanted = parser.parse_args(arguments)
    if wanted.url:
        measure(wanted.url, wanted.letters, wanted.orders, wanted.rate, wanted.seconds)
        return
    postgres = provide_postgres()
    try:
        url = postgres.url(postgres.create_database())
        fill.fill(url, wanted.orders, 20_000)
        measure(url, wanted.letters, wanted.orders, wanted.rate, wanted.seconds)
    finally:
        postgres.close()


if __name__ == "__main__":
    main(sys.argv[1:])
