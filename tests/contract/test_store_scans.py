"""What a stage costs does not grow with the orders, accounts and agents that there are: it finds every row by an index.

PostgreSQL only: SQLite does not count how often it read a table whole.
"""

from __future__ import annotations

from contextlib import closing, nullcontext

import pytest
from sqlalchemy import make_url, text

from pipeline.clock import WallClock
from pipeline.store import migrate
from pipeline.store.engine import Store, Transaction, open_store
from pipeline.store.pace import Pace
from tests.contract.stage_batches import Stages
from tests.contract.store_subjects import read, sql

#: Those that work now, and lately did.
FEW = {"workers"}


def reads_of_whole_tables(store: Store) -> dict[str, int]:
    """How many there were so far, by table."""

    def look(tx: Transaction) -> dict[str, int]:
        tx.run(text("SELECT pg_stat_clear_snapshot()"))
        return {row.relname: row.seq_scan for row in tx.rows(text("SELECT relname, seq_scan FROM pg_stat_user_tables"))}

    read(store, lambda tx: tx.run(text("SELECT pg_stat_force_next_flush()")))
    found: dict[str, int] = read(store, look)
    return found


@pytest.mark.parametrize("the_order_comes", ["with its request", "by itself"])
def test_no_stage_reads_a_table_whole(fresh_database: str, the_order_comes: str) -> None:
    """Where an index would do, PostgreSQL takes it, however few the rows: what it still reads whole it always would."""
    migrate.upgrade(fresh_database)
    with closing(open_store(fresh_database, WallClock(), pool_size=1)) as store:
        sql(store, f'ALTER DATABASE "{make_url(fresh_database).database}" SET enable_seqscan = off')
    with closing(open_store(fresh_database, WallClock(), pool_size=1, by_index=True)) as store:
        stages = Stages(store, lambda _part: nullcontext(), [Pace("railway", rate=None, concurrency=100)])
        before, numbers = reads_of_whole_tables(store), range(20)
        if the_order_comes == "with its request":
            stages.accept(stages.need_pay_with_orders(numbers))
        else:
            stages.accept([*stages.order_paid(numbers), *stages.need_pay(numbers)])
        stages.find_credentials(numbers)
        stages.pay(numbers)
        stages.settle(numbers)
        stages.tell(numbers)
        after = reads_of_whole_tables(store)
    assert {name for name in after if after[name] != before[name]} <= FEW
