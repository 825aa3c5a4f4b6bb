"""订单统计 on both databases: what is read is what there is, and only the days asked for are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from pipeline.matching import SHANGHAI
from pipeline.store.queries_payment_settings import page_of_accounts
from pipeline.store.queries_statistics import statistics, summed
from pipeline.store.types import to_us
from tests.contract.store_subjects import POSTGRESQL, SQLITE, read, sql, url_of
from tests.unit.console_data import FARE_FEN, PRICE_FEN, Orders
from tests.unit.console_house import AGENT, OTHER_AGENT, House, console_at

FILLED = 20_000  # orders of fifty agents over a year: enough for a planner to mind
YEAR_US = 365 * 86_400_000_000


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with console_at(url_of(request.param, request, tmp_path), tmp_path) as house:
        yield house


def test_orders_are_counted_on_the_day_in_shanghai_on_which_they_came(house: House) -> None:
    mine, others = (Orders(house.store, code, house.desk.vault_key) for code in (AGENT, OTHER_AGENT))
    mine.set_up()
    midnight = house.clock.now().astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    late, early, settled, foreign = mine.paid(), mine.paid(), mine.settled(), others.paid()
    moments = {late: -1, early: 0, settled: 1, foreign: 86_399_999_999}
    for order_no, us in moments.items():
        sql(house.store, "UPDATE orders SET created_at = :t WHERE order_no = :o", t=to_us(midnight) + us, o=order_no)
    today, before = midnight.date(), midnight.date() - timedelta(days=1)
    found = read(house.store, statistics, before, today)
    assert [(row["day"], row["agent"], row["orders"]) for row in found] == [
        (today.isoformat(), OTHER_AGENT, 1),
        (today.isoformat(), AGENT, 2),
        (before.isoformat(), AGENT, 1),
    ]
    of_today = found[1]
    assert (of_today["purchased"], of_today["open"], of_today["held_unpaid"]) == (1, 1, 0)
    assert (of_today["fare_fen"], of_today["paid_fen"]) == (2 * FARE_FEN, PRICE_FEN)
    assert (of_today["unfrozen_fen"], of_today["partial_refund_fen"]) == (PRICE_FEN, FARE_FEN - PRICE_FEN)
    assert [row["orders"] for row in summed(found, "agent")] == [1, 3]
    assert [row["orders"] for row in summed(found, "day")] == [3, 1]
    assert summed(found)[0]["orders"] == 4
    assert read(house.store, statistics, today, today, OTHER_AGENT) == [found[0]]
    assert read(house.store, statistics, before - timedelta(days=9), before - timedelta(days=1)) == []


def test_only_the_days_asked_for_are_read(house: House) -> None:
    fill(house)
    last = house.clock.now().astimezone(SHANGHAI).date() - timedelta(days=10)
    plans = []
    for statement, given in asked(house, lambda: read(house.store, statistics, last - timedelta(days=6), last)):
        explain = "EXPLAIN " if house.store.engine.dialect.name == POSTGRESQL else "EXPLAIN QUERY PLAN "
        with house.store.engine.connect() as connection:
            plans += [str(row) for row in connection.exec_driver_sql(explain + statement, given)]
    assert len(plans) > 2
    assert not [
        line for line in plans if "Seq Scan on orders" in line or ("SCAN orders" in line and "INDEX" not in line)
    ]
    assert [line for line in plans if "orders_by_agent" in line]


def fill(house: House) -> None:
    """Orders that look alike, written by the database itself."""
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :several)"
        " INSERT INTO orders (order_no, agent, joint_trip, details, fare_fen, frozen_fen, departure_at, paid_at, created_at,"
        " updated_at) SELECT 'fill' || i, 'agent' || (i % 50), false, '{}', 100, 0, :now, :now,"
        " :now - CAST(i AS bigint) * :every, :now FROM n"
    )
    sql(house.store, numbers, now=to_us(house.clock.now()), several=FILLED, every=YEAR_US // FILLED)
    sql(house.store, "ANALYZE")


def asked(house: House, work: Callable[[], object]) -> list[tuple[str, Any]]:
    """The queries that `work` asks, with their parameters."""
    heard: list[tuple[str, Any]] = []

    def hear(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        heard.append((statement, parameters))

    event.listen(house.store.engine, "before_cursor_execute", hear)
    work()
    event.remove(house.store.engine, "before_cursor_execute", hear)
    return [one for one in heard if one[0].startswith(("SELECT", "WITH"))]


def test_an_agents_accounts_are_found_among_everybodys(house: House) -> None:
    mine, others = (Orders(house.store, code, house.desk.vault_key) for code in (AGENT, OTHER_AGENT))
    mine.set_up()
    others.set_up()
    others.made += ["-"] * 100
    logins = [mine.purchase(mine.requested()).login for _ in range(3)]
    others.requested()
    sql(
        house.store,
        "INSERT INTO railway_accounts (login) SELECT DISTINCT login FROM purchases WHERE true ON CONFLICT DO NOTHING",
    )
    first = read(house.store, page_of_accounts, AGENT, None, 2)
    rest = read(house.store, page_of_accounts, AGENT, first.next, 2)
    assert [row["account"] for row in first.rows + rest.rows] == sorted(logins)
    assert rest.next is None
    assert read(house.store, lambda tx: tx.run(text("SELECT count(*) FROM railway_accounts")).scalar_one()) == 4
