"""订单统计 as people and programs read it: equal to sums over the list, agents see their own, a span has bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.matching import SHANGHAI
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, OTHER_AGENT, Browser, House, console_at

AMOUNTS = ("fare_fen", "paid_fen", "unfrozen_fen", "partial_refund_fen")
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Orders of two agents on three days, one in each state on two of them."""
    folder = tmp_path_factory.mktemp("statistics")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        mine, others = (Orders(house.store, code, house.desk.vault_key) for code in (AGENT, OTHER_AGENT))
        mine.set_up()
        others.set_up()
        mine.one_of_each()
        others.made += ["-"] * 100  # holds and logins of their own
        others.settled()
        house.clock.move(DAY_S)
        mine.settled()
        house.clock.move(2 * DAY_S)
        mine.one_of_each()
        yield house


def listed(browser: Browser) -> list[dict[str, Any]]:
    """Every row of the list."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = browser.get(f"/api/v1/orders?cursor={cursor}").json
        rows, cursor = rows + page["rows"], page["next"]
    return rows


@pytest.mark.parametrize("name", ["bob", "carol", "dave"])
def test_the_sums_are_those_of_the_list(house: House, name: str) -> None:
    browser = house.signed_in(name)
    rows = listed(browser)
    assert rows
    found = browser.get("/api/v1/statistics").json
    outcomes = Counter(row["outcome"] or "open" for row in rows)
    total = found["total"]
    assert total["orders"] == len(rows)
    assert {code: total[code] for code in ("purchased", "held_unpaid", "paid_abnormal", "open")} == {
        code: outcomes[code] for code in ("purchased", "held_unpaid", "paid_abnormal", "open")
    }
    for amount in AMOUNTS:
        assert total[amount] == sum(row[amount] for row in rows), amount
    assert total["paid_fen"] > 0
    for key in total:
        assert total[key] == sum(row[key] for row in found["rows"]), key
    by_agent = Counter(row["agent"] for row in rows)
    assert Counter({row["agent"]: 0 for row in found["rows"]}).keys() == by_agent.keys()
    for agent, orders in by_agent.items():
        assert sum(row["orders"] for row in found["rows"] if row["agent"] == agent) == orders


def test_a_day_is_a_day_in_shanghai_and_both_ends_are_included(house: House) -> None:
    bob = house.signed_in("bob")
    days = sorted({row["day"] for row in bob.get("/api/v1/statistics").json["rows"]})
    today = house.clock.now().astimezone(SHANGHAI).date().isoformat()
    assert len(days) == 3
    assert days[-1] == today
    one = bob.get(f"/api/v1/statistics?first={days[0]}&last={days[0]}").json
    assert {(row["day"], row["agent"]) for row in one["rows"]} == {(days[0], AGENT), (days[0], OTHER_AGENT)}
    two = bob.get(f"/api/v1/statistics?first={days[0]}&last={days[1]}&agent={AGENT}").json
    assert [(row["day"], row["orders"]) for row in two["rows"]] == [(days[1], 1), (days[0], 6)]


def test_an_agent_sees_its_own_whatever_it_asks_for(house: House) -> None:
    dave = house.signed_in("dave")
    found = dave.get(f"/api/v1/statistics?agent={AGENT}").json
    assert {row["agent"] for row in found["rows"]} == {OTHER_AGENT}
    assert AGENT not in dave.get("/statistics").text
    assert "按代理商" not in dave.get("/statistics").text


def test_the_page_has_the_chart_the_sums_and_both_tables(house: House) -> None:
    page = house.signed_in("bob").get("/statistics").text
    for words in (
        "订单统计",
        "<svg",
        "按日",
        "按代理商",
        "合计",
        "采购完成",
        "占座成功未支付",
        "支付完成,出票异常",
        "还没有结果",
        "车票费",
    ):
        assert words in page, words
    assert "这些天没有订单" in house.signed_in("bob").get("/statistics?first=2014-11-17&last=2014-11-18").text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("first=2026-02-01&last=2026-01-31", 409),
        ("first=2026-01-01&last=2026-04-03", 409),
        ("first=2026-01-01&last=2026-04-02", 200),
        ("first=yesterday", 422),
        ("last=0001-01-01", 422),
        ("last=9999-12-31", 422),
        ("first=&last=&agent=", 200),
    ],
)
def test_a_span_is_a_span_of_at_most_92_days(house: House, query: str, status: int) -> None:
    bob = house.signed_in("bob")
    assert bob.get(f"/api/v1/statistics?{query}").status == status
    assert bob.get(f"/statistics?{query}").status == status
