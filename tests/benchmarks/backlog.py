"""What an order costs with 20,000 queued, and with many orders in the database: `python -m tests.benchmarks.backlog`.

CPU ms per order of our processes and of PostgreSQL, against the same run on an empty house, which is run first and last: minutes
lie between, in which the machine's speed may change. RabbitMQ does the same work for each order, so the same in multiples of its CPU is
free of that. The old orders are copies of settled ones, made in the database itself. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, inspect, text

from pipeline.cli.bench import trial
from pipeline.cli.bench.ground import Ground
from pipeline.cli.bench.trial import Asked
from pipeline.cli.house import House
from tests.benchmarks.servers import Servers, note, servers

ORDERS: Final = 6_000
QUEUED: Final = 20_000
OLD: Final = 1_000_000
#: Tables that grow with orders, in the order in which they are copied.
TABLES: Final = (
    "orders",
    "purchases",
    "attempts",
    "callbacks",
    "requests",
    "results",
    "history",
    "ledger_postings",
    "ledger_entries",
    "railway_accounts",
)
#: Columns made of an order's number, which is replaced; of those beside them a copy has its own.
KEYS: Final = ("order_no", "id", "key", "row_key", "purchase_id", "attempt_id", "posting_key")
OWN: Final = ("held_order_no", "login", "trade_no", "webhook_id", "requests.id")
ORDER: Final = "bench0000000"  # how the order numbers of the warm-up begin, and nothing else
#: What is nobody's order is not copied: top-ups.
ONLY: Final = {"ledger_postings": "order_no IS NOT NULL", "ledger_entries": f"posting_key LIKE '%{ORDER}%'"}
CALLS: Final = (
    "INSERT INTO callback_calls (callback_id, at, status, answer, delivered)"
    " SELECT copied.id, made.at, made.status, made.answer, made.delivered FROM callback_calls made"
    " JOIN callbacks old ON old.id = made.callback_id CROSS JOIN generate_series(1, :n) AS copy"
    " JOIN callbacks copied ON copied.webhook_id = 'old' || copy || '-' || old.webhook_id"
)
#: The copied entries are in the running balances too, or the audit would find them missing.
BALANCES: Final = (
    "UPDATE ledger_balances SET balance_fen = (SELECT sum(amount_fen) FROM ledger_entries"
    " WHERE ledger_entries.agent = ledger_balances.agent AND ledger_entries.account = ledger_balances.account)"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.backlog", description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--queued", type=int, default=QUEUED)
    parser.add_argument("--old", type=int, default=OLD)
    asked = parser.parse_args()
    with servers() as there:
        rows = [
            ("empty", _run(there, Asked("A", asked.orders, {}))),
            (f"{asked.queued} queued", _run(there, Asked("A", asked.queued, {}))),
            (f"{asked.old} old orders", _run(there, Asked("A", asked.orders, {}), old=asked.old)),
            ("empty again", _run(there, Asked("A", asked.orders, {}))),
        ]
    costs = [_Cost.of(row) for _name, row in rows]
    base = _Cost(*((first + last) / 2 for first, last in zip(costs[0], costs[-1], strict=True)))
    print("| | orders/s | ours | PostgreSQL | together | × | RabbitMQ | × in its CPU | all ended once |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for (name, row), cost in zip(rows, costs, strict=True):
        fine = "yes" if row["audit_ok"] and row["ended_once"] else f"NO {' '.join(row['broken'])}"
        figures = f"{cost.ours:.3f} | {cost.postgresql:.3f} | {cost.together:.3f} | {cost.together / base.together:.2f}"
        by_rabbitmq = (cost.together / cost.rabbitmq) / (base.together / base.rabbitmq)
        print(f"| {name} | {row['orders_per_s']} | {figures} | {cost.rabbitmq:.3f} | {by_rabbitmq:.2f} | {fine} |")
    return 0


class _Cost(NamedTuple):
    """CPU ms per order."""

    ours: float
    postgresql: float
    rabbitmq: float

    @classmethod
    def of(cls, row: dict[str, Any]) -> _Cost:
        each = 1000 / row["orders"]
        return cls(row["cpu_s_per_1000"], row["cpu_s"]["postgresql"] * each, row["cpu_s"]["rabbitmq"] * each)

    @property
    def together(self) -> float:
        return self.ours + self.postgresql


def _run(there: Servers, asked: Asked, old: int = 0) -> dict[str, Any]:
    note(f"{asked.orders} orders, {old} old ones")

    def fill(_ground: Ground, house: House) -> None:
        with house.store.engine.begin() as connection:
            copy_settled(connection, old)
        with house.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Old orders have long been vacuumed and written down; else both are done during the run.
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))

    return asyncio.run(trial.run(there.settings(), asked, warmed=fill if old else None))


def copy_settled(connection: Connection, count: int) -> None:
    """Copy what the warm-up has settled until there are `count` more orders."""
    settled = int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())
    copies = -(-count // settled)
    for table in TABLES:
        columns = inspect(connection).get_columns(table)
        kept = [column for column in columns if not (column.get("identity") or column.get("autoincrement"))]
        names = ", ".join(f'"{column["name"]}"' for column in kept)
        values = ", ".join(_copied(table, column["name"]) for column in kept)
        which = ONLY.get(table, "true")
        # names of our own, none from outside
        copy = (
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, generate_series(1, :n) AS copy WHERE {which}"  # noqa: S608 - as said
        )
        connection.execute(text(copy), {"n": copies})
    connection.execute(text(CALLS), {"n": copies})
    connection.execute(text(BALANCES))


def _copied(table: str, column: str) -> str:
    if column in OWN or f"{table}.{column}" in OWN:
        return f"'old' || copy || '-' || \"{column}\""
    return f"replace(\"{column}\", '{ORDER}', 'old' || copy || '-{ORDER}')" if column in KEYS else f'"{column}"'


if __name__ == "__main__":
    raise SystemExit(main())
