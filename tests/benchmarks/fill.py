"""A database as it looks after years: `python -m tests.benchmarks.fill URL [--orders 1000000] [--queued 20000]`.

Settled orders with all that belongs to them, and work rows that nobody has taken, are written by PostgreSQL itself; then the stages
are measured on it (`stage_sql`) and the plan of every statement they execute is looked at: a sequential scan of a table that
grows is an error. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import sys
from collections.abc import Sequence
from string import Template
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy import event, text

from pipeline.clock import WallClock
from pipeline.relay import MOST_PER_TICK
from pipeline.store import (
    attempts,
    callbacks,
    dead_letters,
    migrate,
    orders,
    queries_agents,
    relay_rounds,
    results,
    wakes,
)
from pipeline.store.engine import Store, Transaction, open_store
from pipeline.store.queries_orders import OrderFilter, Quick, page_of_orders, quick_counts
from tests.contract.stage_batches import AGENT, Stages
from tests.contract.store_subjects import read, write

DAY_US: Final = 86_400_000_000
NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
# Tables that grow with the orders.
SCAN: Final = re.compile(
    r"Seq Scan on (orders|purchases|attempts|requests|results|history|callbacks|callback_calls|ledger_postings|ledger_entries)\b"
)
# As long as an order.paid of three passengers; each phone is another one.
DETAILS: Final = (
    "json_build_object('train_no', 'T' || i % 3000, 'from', '北京西', 'to', '成都', 'seat', json_build_object('code', '7'),"
    " 'contact', json_build_object('name', 'c' || i, 'phone', (13000000000 + i)::text), 'remark', repeat('x', 500))::text"
)
TEMPLATES: Final = (
    "INSERT INTO orders (order_no, agent, joint_trip, details, fare_fen, frozen_fen, departure_at, paid_at, generation,"
    " result_seq, created_at, updated_at, $searched) SELECT $no, 'agent' || i % 50, false, $details, 128400, 0, $t, $t, 1, 3,"
    " $t, $t, $found_by $of_orders",
    # As many again are open: nobody has asked for nine of ten, the purchase of the tenth failed.
    "INSERT INTO orders (order_no, agent, joint_trip, details, fare_fen, frozen_fen, departure_at, paid_at, generation,"
    " result_seq, created_at, updated_at, $searched) SELECT $open, 'agent' || i % 50, false, $details, 128400, 128400,"
    " $now + 3600000000 * (i % 1000), $now, CASE WHEN i % 10 = 0 THEN 1 ELSE 0 END, 1, $now - 40000000::bigint * i, $now, $found_by"
    " FROM generate_series(1, $queued) i",
    "INSERT INTO purchases (id, order_no, generation, agent, state, reason, login, held_order_no, hold_deadline, origin,"
    " requested_at, accepted_at, stop_at, concluded_at, updated_at) SELECT $open || ':1', $open, 1, 'agent' || i % 50,"
    " 'held_unpaid', 'price_mismatch', 'v' || i, 'G' || i, $now + 60000000::bigint * (i % 60), 'queue', $now, $now, $now, $now, $now"
    " FROM generate_series(10, $queued, 10) i",
    "INSERT INTO purchases (id, order_no, generation, agent, state, login, held_order_no, paid_fen, origin, requested_at,"
    " accepted_at, stop_at, intent_at, concluded_at, updated_at) SELECT $no || ':1', $no, 1, 'agent' || i % 50, 'settled',"
    " 'u' || i, 'F' || i, 124100, 'queue', $t, $t, $t, $t, $t, $t $of_orders",
    "INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at, submitted_at,"
    " concluded_at, amount_fen, debited_fen, trade_no, final_after, proof) SELECT $no || ':1:1', $no || ':1', $no, 1, 1, 1,"
    " 'u' || i, 'F' || i, $t, $t, $t, 124100, 124100, 'T' || i, $t, 'paid' $of_orders",
    "INSERT INTO requests (source, id, type, order_no, digest, answer, received_at) SELECT 'am', 'f' || i,"
    " 'purchase.need_pay', $no, md5(i::text), 'accepted', $t $of_orders",
    "INSERT INTO results (row_key, order_no, seq, type, body, at, sent_at) SELECT $no || ':1:purchase.settled', $no, 3,"
    " 'purchase.settled', repeat('x', 400), $t, $t $of_orders",
    "INSERT INTO history (order_no, at, what, detail, actor) SELECT $no, $t, 'settled', '{}', 'fill' $of_orders",
    "INSERT INTO callbacks (order_no, generation, agent, pay_status, webhook_id, state, calls, created_at, delivered_at)"
    " SELECT $no, 1, 'agent' || i % 50, '1', $no || ':1:1', 'delivered', 1, $t, $t $of_orders",
    "INSERT INTO ledger_postings (key, kind, agent, order_no, at) SELECT 'thaw:' || $no, 'unfreeze', 'agent' || i % 50, $no,"
    " $t $of_orders",
    "INSERT INTO ledger_entries (posting_key, agent, account, amount_fen, at) SELECT 'thaw:' || $no, 'agent' || i % 50, a.name,"
    " a.fen, $t $of_orders, (VALUES ('frozen', -128400), ('available', 128400)) a(name, fen)",
    "INSERT INTO work (key, order_no, generation, step, stage, due_at, wake_at, urgency, created_at) SELECT $no || ':1:pay',"
    " $no, 1, 'pay', 'payment', $now, $now + 1000000 * (i % 30), $now + i, $now FROM generate_series(1, $queued) i",
)


def statements(orders_wanted: int, queued: int) -> list[str]:
    """INSERT … SELECT generate_series, one per table; each order i is settled."""
    words = {
        "no": "'fill' || lpad(i::text, 16, '0')",
        "now": NOW,
        "t": f"{NOW} - {DAY_US} - i",
        "of_orders": f"FROM generate_series(1, {orders_wanted}) i",
        "queued": queued,
        "open": "'open' || lpad(i::text, 16, '0')",
        "searched": "ordered_at, train_no, from_station, to_station, contact_mark, phone_mark, insurance_mark",
        "found_by": f"{NOW} - {DAY_US} - i, 'T' || i % 3000, '北京西', '成都', i % 16777216, i * 7 % 16777216, i * 11 % 16777216",
        "details": DETAILS,
    }
    return [Template(template).substitute(words) for template in TEMPLATES]


def fill(url: str, orders_wanted: int, queued: int) -> None:
    migrate.upgrade(url)
    with psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        for statement in statements(orders_wanted, queued):
            connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE")


def rounds_of_the_relay(tx: Transaction) -> None:
    """Every query that the relay asks in its rounds, and what agents' programs ask again and again."""
    relay_rounds.due(tx, 1_800_000_000)
    wakes.to_wake(tx, MOST_PER_TICK)
    wakes.reap(tx)
    orders.overdue(tx, MOST_PER_TICK)
    attempts.window_over(tx, 1_800_000_000, MOST_PER_TICK)
    results.unsent(tx, MOST_PER_TICK)
    dead_letters.unseen(tx, MOST_PER_TICK)
    callbacks.untold(tx, MOST_PER_TICK)
    dead_letters.count_open(tx)
    queries_agents.waiting_orders(tx, AGENT)
    queries_agents.refund_requests(tx, AGENT)


def looks_of_people(tx: Transaction) -> None:
    """What the console's list of orders asks; the rows of a first page too."""
    quick_counts(tx, None, 20)
    quick_counts(tx, AGENT, 20)
    for wanted in LOOKS:
        page_of_orders(tx, wanted)


LOOKS: Final = (
    *(OrderFilter(quick=quick) for quick in Quick),
    *(OrderFilter(agent="agent7", quick=quick) for quick in Quick),
    OrderFilter(phone="13000000007"),
    OrderFilter(agent="agent7", phone="13000000007"),
    OrderFilter(contact="c999"),
    OrderFilter(train_no="G1"),
    OrderFilter(train_no="T7"),
    OrderFilter(agent="agent7", train_no="T7"),
    OrderFilter(from_station="北京西", to_station="上海"),
    OrderFilter(ticket_no="F4711"),
    OrderFilter(ticket_no="G470"),
    OrderFilter(state="purchase_failed"),
    OrderFilter(state="no_ticket"),
    OrderFilter(reason="price_mismatch"),
    OrderFilter(order_no="fill0000000000004711"),
)


class Plans:
    """Explains every statement right before it is executed, once, and keeps those that read a growing table from end to end."""

    def __init__(self, store: Store) -> None:
        self.scans: dict[str, str] = {}
        self._seen: set[str] = set()
        event.listen(store.engine, "before_cursor_execute", self._explain)

    def _explain(self, *told: Any) -> None:
        _connection, cursor, statement, parameters, _context, _many = told
        if statement in self._seen or not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            return
        self._seen.add(statement)
        own = cursor.connection.cursor()
        own.execute("EXPLAIN " + statement, parameters)
        plan = "\n".join(str(row[0]) for row in own.fetchall())
        own.close()
        if SCAN.search(plan):
            self.scans[statement] = plan


def plans(url: str) -> dict[str, str]:
    """The statements of all stages and of the relay that scan a growing table, with their plans."""
    store = open_store(url, WallClock(), pool_size=1)
    found = Plans(store)
    stages = Stages(store, _nothing)
    numbers = range(5_000_000, 5_000_300)
    stages.all_the_way(numbers)
    write(store, rounds_of_the_relay)
    write(store, looks_of_people)
    live = read(store, lambda tx: tx.run(text("SELECT count(*) FROM purchases WHERE state = 'settled'")).scalar_one())
    print(f"{live} settled purchases, {len(found.scans)} statements that scan")
    store.close()
    return {statement: plan for statement, plan in found.scans.items() if "count(*)" not in statement}


def _nothing(_part: str) -> Any:
    return contextlib.nullcontext()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--queued", type=int, default=20_000)
    wanted = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if wanted.orders:
        fill(wanted.url, wanted.orders, wanted.queued)
    scans = plans(wanted.url)
    for statement, plan in scans.items():
        print(statement, plan, sep="\n", end="\n\n")
    return 1 if scans else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
