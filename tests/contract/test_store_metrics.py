"""What the relay serves is what the database holds, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.broker.depths import Depth
from pipeline.broker.port import BrokerUnavailable, Outgoing
from pipeline.executors import InlineExecutor
from pipeline.gauges import EVERY_S, SHARE, Gauges
from pipeline.ledger import Account
from pipeline.metric_families import FAMILIES
from pipeline.metrics import Metrics
from pipeline.operations import Scope, pause
from pipeline.store import control, ledger
from pipeline.store.clock import now
from pipeline.store.queries_metrics import SETTLED_S, read_ended, read_state
from tests.contract.store_subjects import POSTGRESQL, SQLITE, url_of
from tests.unit.console_data import PRICE_FEN, Orders
from tests.unit.console_house import AGENT, House, console_at

BROKERS_OWN = {"daifu_queue_messages", "daifu_queue_consumers"}
COUNTED = {"daifu_purchases_total", "daifu_end_to_end_seconds"}
AN_HOUR_AGO = text("UPDATE purchases SET concluded_at = concluded_at - 3600000000 WHERE concluded_at IS NOT NULL")
AUDITED = {"daifu_audit_broken", "daifu_audit_last_run_timestamp_seconds"}


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with console_at(url_of(request.param, request, tmp_path), tmp_path) as house:
        yield house


@pytest.fixture
def orders(house: House) -> Orders:
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    return orders


def test_the_gauges_say_what_there_is(house: House, orders: Orders) -> None:
    orders.one_of_each()
    house.write(lambda tx: pause(tx, Scope.STAGE, "payment", "测试", "human:ann"))
    house.write(lambda tx: control.register_worker(tx, "payment:1", "payment", 60.0))
    house.write(lambda tx: control.open_breaker(tx, "railway", "refused", 1.0))
    seen = house.read(read_state)
    assert set(seen) == {one.name for one in FAMILIES if one.served_by == "relay"} - BROKERS_OWN - COUNTED - AUDITED
    labels = {one.name: len(one.labels) for one in FAMILIES}
    assert all(len(key) == labels[name] for name, values in seen.items() for key in values)

    assert seen["daifu_in_flight_fen"] == {(): 2 * PRICE_FEN}
    assert sum(seen["daifu_in_flight_age_fen"].values()) == 2 * PRICE_FEN
    assert seen["daifu_in_doubt"] == {(): 1}
    assert 0 <= seen["daifu_in_doubt_oldest_seconds"][()] < 3600
    assert seen["daifu_dead_letters_open"] == {("payment", "insufficient_funds"): 1, ("payment", "outcome_unknown"): 1}
    assert seen["daifu_tasks_open"]["close_abnormal",] == 1
    assert seen["daifu_holds_expiring"]["1800", "purchase"] == 1
    # The one without money: nobody has seen its hold, so its request's end counts. An abnormal is never replayed.
    assert seen["daifu_holds_expiring"]["1800", "dead_letter"] == 1
    fund = house.read(lambda tx: ledger.balances(tx, AGENT))[Account.PROCUREMENT]
    assert seen["daifu_procurement_fen"][AGENT,] == fund
    assert seen["daifu_workers_alive"] == {
        ("intake",): 0, ("credentials",): 0, ("payment",): 1, ("settlement",): 0, ("notification",): 0,
    }  # fmt: skip
    assert seen["daifu_breaker_open"] == {("railway",): 1, ("cashier",): 0}
    assert seen["daifu_breaker_open_seconds"]["cashier",] == 0
    assert seen["daifu_pauses"] == {("stage",): 1, ("agent",): 0, ("account",): 0}
    assert seen["daifu_work_due"]["payment",] == 2


def test_each_conclusion_is_counted_once_and_only_when_none_can_come_before_it(house: House, orders: Orders) -> None:
    orders.one_of_each()
    moment = house.read(now)
    everything, until = house.read(lambda tx: read_ended(tx, moment - timedelta(hours=1)))
    assert everything == []  # all concluded a moment ago: a transaction that began before may still commit
    assert moment - timedelta(seconds=SETTLED_S) <= until
    orders.store.write(lambda tx: tx.run(AN_HOUR_AGO))
    found, until = house.read(lambda tx: read_ended(tx, moment - timedelta(hours=2)))
    assert sorted((one.outcome, one.reason, one.purchases) for one in found) == [
        ("held_unpaid", "insufficient_funds", 1),
        ("paid_abnormal", "outcome_unknown", 1),
        ("purchased", "", 1),
    ]
    assert house.read(lambda tx: read_ended(tx, until))[0] == []
    assert house.read(lambda tx: read_ended(tx, None))[0] == []  # a relay counts from its start on


def test_a_database_that_is_slow_to_read_is_read_more_rarely(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    gauges = Gauges(house.store, InlineExecutor(), metrics, Broker())
    moments = iter([100.0, 100.0, 103.0, *[100.0 + 3.0 / SHARE - 0.1] * 2])
    monkeypatch.setattr(type(house.store.clock), "monotonic", lambda _self: next(moments))
    run(gauges)  # takes 3 s
    assert EVERY_S < 3.0 / SHARE
    run(gauges)  # not yet due: asks the clock once
    assert metrics.registry.get_sample_value("daifu_in_doubt") == 0


class Broker:
    """Connected or not; asked for its queues or not."""

    connected = True
    asked = 0
    away = False

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Everything arrives."""

    async def close(self) -> None:
        """Nothing is open."""

    def read(self) -> list[Depth]:
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("away")
        return [Depth("daifu.payment", 7, 2)]


def test_a_broker_that_is_away_is_not_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr(type(house.store.clock), "monotonic", lambda _self: moment[0])
    metrics, broker = Metrics(), Broker()
    value = metrics.registry.get_sample_value
    gauges = Gauges(house.store, InlineExecutor(), metrics, broker, broker)
    broker.connected = False
    run(gauges)
    assert broker.asked == 0
    broker.connected, broker.away, moment[0] = True, True, 200.0
    run(gauges)  # says so in the log, and goes on
    assert (broker.asked, value("daifu_queue_messages", {"queue": "daifu.payment"})) == (1, None)
    broker.away, moment[0] = False, 300.0
    run(gauges)
    assert value("daifu_queue_messages", {"queue": "daifu.payment"}) == 7
    assert value("daifu_queue_consumers", {"queue": "daifu.payment"}) == 2


def run(gauges: Gauges) -> None:
    asyncio.run(gauges.read())
