"""A batch is a fixed number of statements, however many orders are in it, on both databases: counts, not times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from sqlalchemy import select, text

from pipeline import endings
from pipeline.clock import WallClock
from pipeline.endings import Unpaid
from pipeline.reasons import Reason
from pipeline.store import migrate, orders
from pipeline.store.engine import Store, Transaction, open_store
from pipeline.store.tables import attempts, ledger_balances, purchases, results
from pipeline.store.tables import orders as orders_table
from pipeline.store.work_keys import Step, has_row, purchase_has_row
from schemas.results import ResultEvent
from tests.contract.stage_batches import PAID_FEN, Stages, statements_of
from tests.contract.store_subjects import count, read, write

# Statements of one batch, savepoints included. SQLite needs no locks of its own, and says BEGIN as a statement.
MOST = {
    "intake": 21,
    "credentials": 6,
    "payment prepare": 7,
    "payment call": 16,
    "payment conclude": 15,
    "settlement": 11,
    "notification prepare": 5,
    "notification conclude": 6,
}


def counter(store: Store, kept: dict[str, int]) -> Callable[[str], AbstractContextManager[None]]:
    @contextmanager
    def part(name: str) -> Iterator[None]:
        with statements_of(store) as executed:
            yield
        kept[name] = len(executed)

    return part


def test_a_batch_of_1_20_or_300_orders_is_the_same_number_of_statements(store: Store) -> None:
    kept: dict[str, int] = {}
    stages = Stages(store, counter(store, kept))
    stages.all_the_way(range(9_000, 9_001))  # opens the agent's accounts
    first = 0
    found = []
    for orders_in_batch in (1, 20, 300):
        stages.all_the_way(range(first, first + orders_in_batch))
        first += orders_in_batch
        found.append(dict(kept))
    assert found[0] == found[1] == found[2]
    assert {part: number for part, number in found[0].items() if number > MOST[part]} == {}
    assert count(store, "purchases", "state = 'settled'") == 322
    assert count(store, "callbacks", "state = 'delivered'") == 322
    assert count(store, "work") == 0


def test_an_order_that_comes_with_its_request_takes_fewer_statements(store: Store) -> None:
    kept: dict[str, int] = {}
    stages = Stages(store, counter(store, kept))
    stages.accept(stages.need_pay_with_orders(range(9_000, 9_001)))  # opens the agent's accounts
    found = []
    for numbers in (range(1), range(1, 301)):
        stages.accept(stages.need_pay_with_orders(numbers))
        found.append(kept["intake"])
    assert found[0] == found[1] <= 15


def test_what_all_stages_tell_am_is_what_was_promised(store: Store) -> None:
    stages, numbers = Stages(store, counter(store, {})), range(3)
    stages.all_the_way(numbers)
    told = read(store, lambda tx: tx.rows(select(results.c.body, results.c.type)))
    events = [ResultEvent.model_validate_json(row.body) for row in told]
    assert sorted(event.type for event in events) == sorted(
        ["purchase.accepted", "purchase.purchased", "purchase.settled"] * len(numbers)
    )


def test_an_orders_row_is_written_anew_on_the_page_where_it_is(fresh_database: str) -> None:
    migrate.upgrade(fresh_database)
    with closing(open_store(fresh_database, WallClock())) as store:
        stages, numbers = Stages(store, counter(store, {})), range(300)
        stages.accept(stages.need_pay_with_orders(numbers))
        stored = _pages_of_orders(store)
        stages.find_credentials(numbers)
        stages.pay(numbers)
        paid = _pages_of_orders(store)  # in their second version
    stayed = [order_no for order_no, page in stored.items() if paid[order_no] == page]
    assert len(stayed) > 0.8 * len(stored), "a version that moves is written to every index again"


def _pages_of_orders(store: Store) -> dict[str, int]:
    pages = text("SELECT order_no, (ctid::text::point)[0]::int AS page FROM orders")
    return {row.order_no: row.page for row in read(store, lambda tx: tx.rows(pages))}


def test_where_a_fund_can_not_serve_all_the_batch_is_still_a_fixed_number_of_statements(store: Store) -> None:
    kept: dict[str, int] = {}
    stages = Stages(store, counter(store, kept))
    for batch, orders_in_batch in enumerate((20, 60)):
        numbers = range(1_000 * batch, 1_000 * batch + orders_in_batch)
        stages.accept([*stages.order_paid(numbers), *stages.need_pay(numbers)])
        stages.find_credentials(numbers)
        _leave_in_fund(store, PAID_FEN * orders_in_batch // 2)
        stages.pay(numbers)
        ended = read(store, lambda tx: tx.rows(select(purchases.c.reason).where(purchases.c.state == "held_unpaid")))
        assert {row.reason for row in ended} == {"insufficient_funds"}
        assert len(ended) == sum(number // 2 for number in (20, 60)[: batch + 1])
        # Begun in vain, then with savepoints, and anew without those that went without.
        assert kept["payment call"] <= MOST["payment call"] + 22
        assert kept["payment conclude"] <= 2 * MOST["payment conclude"] + 2  # two outcomes


def _leave_in_fund(store: Store, fen: int) -> None:
    fund = ledger_balances.c.account == "procurement"
    write(store, lambda tx: tx.run(ledger_balances.update().where(fund).values(balance_fen=fen)))


def test_ending_many_purchases_before_their_intent_is_a_fixed_number_of_statements(store: Store) -> None:
    stages = Stages(store, counter(store, {}))
    accepted = select(purchases.c.id).where(purchases.c.state == "accepted")
    counts = []
    for first, orders_in_batch in ((0, 1), (10, 30)):
        numbers = range(first, first + orders_in_batch)
        stages.accept([*stages.order_paid(numbers), *stages.need_pay(numbers)])
        ids = [row.id for row in read(store, lambda tx: tx.rows(accepted))]
        found = read(store, orders.load_purchases, ids)
        ends = [Unpaid(row, Reason.REQUEST_EXPIRED, "") for row in found.values()]
        with statements_of(store) as executed:
            ended = write(store, endings.end_all_before_intent, ends, stage="payment", actor="test")
        assert ended == set(ids)
        counts.append(len(executed))
    assert counts[0] == counts[1] <= 20
    assert count(store, "dead_letters", "state = 'open'") == 31


LOOKS = {
    "work of an order": (
        select(orders_table.c.order_no).where(has_row(orders_table.c.order_no, Step.TELL)),
        "work",
        "key",
    ),
    "work of a purchase": (
        select(purchases.c.id).where(purchase_has_row(purchases.c.id, Step.PAY, Step.ASK)),
        "work",
        "key",
    ),
    "attempts of orders": (
        select(attempts.c.n).where(attempts.c.order_no.in_(["o1", "o2"])),
        "attempts",
        "order_no",
    ),
}


SOME_WORK = text(
    "INSERT INTO work (key, order_no, generation, step, stage, due_at, wake_at, urgency, created_at)"
    " SELECT 'k' || n, 'o' || n, 1, 'pay', 'payment', 0, 0, 0, 0 FROM generate_series(1, 2000) AS n"
)


@pytest.mark.parametrize("look", LOOKS)
def test_what_is_asked_for_each_order_is_found_by_an_index(store: Store, look: str) -> None:
    statement, table, column = LOOKS[look]
    asked = statement.compile(dialect=store.engine.dialect, compile_kwargs={"literal_binds": True})

    def plan(tx: Transaction) -> str:
        if not tx.postgresql:
            return "\n".join(row[3] for row in tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}"))
        tx.run(SOME_WORK)  # over a table that was analyzed while it was empty every plan is as good
        tx.run(text("ANALYZE work"))
        for way in ("seqscan", "hashjoin", "mergejoin"):  # which few rows would be worth
            tx.run(text(f"SET LOCAL enable_{way} = off"))
        return "\n".join(row[0] for row in tx.connection.exec_driver_sql(f"EXPLAIN {asked}"))

    found = store.write(plan).value
    searched = rf"SEARCH {table} USING (COVERING )?INDEX \w+ \({column}=\?\)|Index Cond: \({column} = "
    assert re.search(searched, found), found
