"""Reports and statements over a large ledger: `python -m tests.benchmarks.money [--orders 250000] [--rows 100000]`.

On PostgreSQL: so many settled orders of one agent (four postings each) are written by the database itself. Then the sales report of
`--rows` of them is exported as CSV and as XLSX, each by a process of its own whose memory is looked at before and after (VmHWM), and
the pages' queries are timed: a statement's first and last page, the trial balance, the report's sums. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from string import Template
from typing import Any, Final

import psycopg

from pipeline.cli.bench.meter import peak_mb
from pipeline.clock import WallClock
from pipeline.console.exports import csv_bytes, xlsx_bytes
from pipeline.console.sales import COLUMNS
from pipeline.ledger import Account
from pipeline.store import migrate
from pipeline.store.clock import now
from pipeline.store.engine import Store, open_store
from pipeline.store.queries_funds import funds_of_all, statement, trial_balance
from pipeline.store.queries_sales import SalesFilter, every_sale, page_of_sales, sums_of_sales
from tests.benchmarks.servers import note
from tests.services.providers import provide_postgres

AGENT: Final = "xcslw"
DETAILS: Final = '{"ordered_at":"2014-11-17T20:31:22+08:00","train_no":"T7","from":"北京西","to":"成都","passengers":[{},{},{}],"insurance_fen":6000}'
TICKETS: Final = '[{"ticket_no":"E646076788","seat_type":"7"},{"ticket_no":"E646076788","seat_type":"6"}]'
NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
TEMPLATES: Final = (
    "INSERT INTO agents (code, callback_url, merchant_key_sealed, webhook_secret_sealed, created_at) VALUES ('$agent', '', '', '', 0)",
    "INSERT INTO orders (order_no, agent, joint_trip, details, fare_fen, frozen_fen, departure_at, paid_at, generation, result_seq,"
    " tickets, created_at, updated_at) SELECT $no, '$agent', false, '$details', 128400, 0, $t, $t, 1, 3, '$tickets', $t, $t $each",
    "INSERT INTO purchases (id, order_no, generation, agent, state, login, held_order_no, paid_fen, unfrozen_fen, partial_refund_fen,"
    " origin, requested_at, accepted_at, stop_at, intent_at, concluded_at, updated_at) SELECT $no || ':1', $no, 1, '$agent', 'settled',"
    " 'u' || i, 'F' || i, 124100, 124100, 4300, 'queue', $t, $t, $t, $t, $t, $t $each",
    "INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at, submitted_at, concluded_at,"
    " amount_fen, debited_fen, trade_no, final_after, proof) SELECT $no || ':1:1', $no || ':1', $no, 1, 1, 1, 'u' || i, 'F' || i, $t, $t,"
    " $t, 124100, 124100, 'T' || i, $t, 'paid' $each",
    "INSERT INTO ledger_postings (key, kind, agent, order_no, attempt_id, at) SELECT p.kind || $no, p.kind, '$agent', $no, $no || ':1:1', $t"
    " $each, (VALUES ('freeze'), ('hold'), ('post'), ('unfreeze')) p(kind)",
    "INSERT INTO ledger_entries (posting_key, agent, account, amount_fen, at) SELECT e.kind || $no, '$agent', e.account, e.fen, $t $each,"
    " (VALUES ('freeze', 'user', -128400), ('freeze', 'frozen', 128400), ('hold', 'procurement', -124100), ('hold', 'in_flight', 124100),"
    " ('post', 'in_flight', -124100), ('post', 'railway', 124100), ('unfreeze', 'frozen', -128400), ('unfreeze', 'available', 124100),"
    " ('unfreeze', 'user', 4300)) e(kind, account, fen)",
)


def fill(url: str, orders: int) -> None:
    migrate.upgrade(url)
    words = {"no": "'m' || lpad(i::text, 9, '0')", "agent": AGENT, "details": DETAILS, "tickets": TICKETS}
    words |= {"t": f"({NOW} - 60000000::bigint * ({orders} - i))", "each": f"FROM generate_series(1, {orders}) i"}
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        for template in TEMPLATES:
            connection.execute(Template(template).substitute(words).encode())
        connection.execute("VACUUM ANALYZE")


def last(store: Store, rows: int) -> SalesFilter:
    """The last so many payments: one a minute."""
    until = store.read(now)
    return SalesFilter(until - timedelta(minutes=rows), until, AGENT)


def export(url: str, kind: str, rows: int) -> None:
    """In a process of its own: what the console does for a download, the bytes counted and thrown away."""
    store = open_store(url, WallClock(), pool_size=1)
    store.read(lambda tx: page_of_sales(tx, last(store, 10)))
    before = peak_mb([os.getpid()])
    begun = time.monotonic()
    parts = every_sale(store.read, last(store, rows))
    size = sum(map(len, csv_bytes(COLUMNS, parts) if kind == "csv" else xlsx_bytes(COLUMNS, parts)))
    took = time.monotonic() - begun
    after = peak_mb([os.getpid()])
    print(f"| {kind} of {rows:,} rows | {took:.1f} s | {size / 1e6:.1f} MB | {before:.0f} MB | {after:.0f} MB |")


def timed(store: Store, what: str, work: Callable[[Any], Any]) -> None:
    store.read(work)
    begun = time.monotonic()
    store.read(work)
    print(f"| {what} | {(time.monotonic() - begun) * 1000:.0f} ms |")


def queries(url: str, rows: int) -> None:
    store = open_store(url, WallClock(), pool_size=1)
    until: datetime = store.read(now)
    entries = store.read(lambda tx: statement(tx, AGENT, Account.PROCUREMENT, until - timedelta(days=9_999), until))[
        "entries"
    ]
    print(f"\n| over {entries:,} entries of the account | time |\n|---|---:|")
    month = until - timedelta(days=30)
    for account in (Account.PROCUREMENT, Account.USER):
        timed(
            store,
            f"statement of the last 30 days, {account}",
            partial(statement, agent=AGENT, account=account, since=month, until=until),
        )
    long_ago = until - timedelta(days=9_999)
    timed(store, "statement of everything, first page", lambda tx: statement(tx, AGENT, Account.USER, long_ago, until))
    timed(store, "trial balance, all accounts", lambda tx: trial_balance(tx, until))
    timed(store, "funds and what waits", lambda tx: funds_of_all(tx, 0))
    timed(store, f"sums of the report, {rows:,} rows", lambda tx: sums_of_sales(tx, last(store, rows)))
    timed(store, "first page of the report", lambda tx: page_of_sales(tx, last(store, rows)))
    store.close()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=250_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--export", nargs=2, metavar=("URL", "KIND"), help="what the main process starts")
    wanted = parser.parse_args(arguments)
    if wanted.export:
        url, kind = wanted.export
        export(url, kind, wanted.rows)
        return 0
    server = provide_postgres()
    try:
        url = server.url(server.create_database())
        begun = time.monotonic()
        fill(url, wanted.orders)
        note(f"{wanted.orders} orders written in {time.monotonic() - begun:.0f} s, PostgreSQL {server.version}")
        print("| export | time | size | peak before | peak after |\n|---|---:|---:|---:|---:|", flush=True)
        for kind, rows in (("csv", 1000), ("csv", wanted.rows), ("xlsx", 1000), ("xlsx", wanted.rows)):
            command = [sys.executable, "-m", "tests.benchmarks.money", "--rows", str(rows), "--export", url, kind]
            subprocess.run(command, check=True)
        queries(url, wanted.rows)
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
