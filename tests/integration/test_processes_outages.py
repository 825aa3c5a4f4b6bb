"""Broker and database stopped, killed, restarted and emptied while orders flow: every process says so, stays alive, resumes.

RabbitMQ and PostgreSQL only: the embedded default has neither to lose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pytest

from tests.integration.pipeline_endings import paid
from tests.integration.pipeline_house import STAGES, start_on
from tests.integration.pipeline_orders import AGENT, Am, Bought
from tests.integration.pipeline_process import until
from tests.services.broker import RabbitmqNode
from tests.services.postgres import PostgresServer

NAMES: Final = (*STAGES, "relay")
SLOW_MS: Final = 1500


@pytest.fixture(scope="module")
def am(
    our_broker: RabbitmqNode, our_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Am]:
    """A pipeline on a broker and a database that this file may stop."""
    our_broker.start()
    our_postgres.start()
    vhost, database = our_broker.create_vhost(), our_postgres.create_database()
    folder = tmp_path_factory.mktemp("outages")
    house = start_on(folder, our_broker.url(vhost), our_postgres.url(database), 1)
    try:
        am = Am(house)
        am.add_agent()
        yield am
    finally:
        house.close()
        our_broker.start()
        our_broker.delete_vhost(vhost)
        our_postgres.start()
        our_postgres.drop_database(database)


def flowing(am: Am, name: str) -> list[Bought]:
    """Four orders on their way, one of them with its form out."""
    orders = [am.buy(f"{AGENT}-{name}-{number}") for number in range(3)]
    orders.append(am.buy(f"{AGENT}-{name}-slow", delay_ms=SLOW_MS))
    am.send_orders(orders)
    am.wait_line(orders[-1], "pay")
    return orders


def all_end_paid(am: Am, orders: list[Bought]) -> None:
    rows = am.wait_ended([one.order_no for one in orders])
    for one in orders:
        am.check(one, paid(), rows[one.order_no])


def health_of_all(am: Am, path: str) -> set[int]:
    return {am.house.processes[name].health(path)[0] for name in NAMES}


def all_say(am: Am, events: set[str], seen: Counter[str]) -> bool:
    """Whether each process logged one of these events since `seen` was counted."""
    return all(sum(_count(am, name, events).values()) > seen[name] for name in NAMES)


def _count(am: Am, name: str, events: set[str]) -> Counter[str]:
    return Counter(name for event in am.house.processes[name].events() if event in events)


def while_gone(am: Am, events: set[str], stop: Callable[[], None]) -> None:
    """Every process says that it waits, stays alive and is not ready."""
    seen = sum((_count(am, name, events) for name in NAMES), Counter[str]())
    stop()
    until(f"all say one of {sorted(events)}", lambda: all_say(am, events, seen), 30)
    assert health_of_all(am, "/livez") == {200}
    until("none is ready", lambda: health_of_all(am, "/readyz") == {503}, 30)


def resumes(am: Am, start: Callable[[], None]) -> None:
    start()
    until("all are ready again", lambda: health_of_all(am, "/readyz") == {200}, 60)
    for name in NAMES:
        assert am.house.processes[name].running


BROKER_GONE: Final = {"broker_lost", "broker_unreachable"}
DATABASE_GONE: Final = {"database_gone", "relay_waits", "heartbeat_missed"}


def test_a_broker_that_goes_away_is_awaited_and_nothing_is_lost(am: Am, our_broker: RabbitmqNode) -> None:
    orders = flowing(am, "broker-stop")
    while_gone(am, BROKER_GONE, our_broker.stop)
    am.house.processes["settlement"].kill()
    started = am.house.replace("settlement")  # a process that starts without a broker waits for it too
    assert started.health("/livez")[0] == 200
    assert started.health("/readyz")[0] == 503
    resumes(am, our_broker.start)
    all_end_paid(am, orders)


def test_a_database_that_goes_away_is_awaited_and_nothing_is_paid_twice(am: Am, our_postgres: PostgresServer) -> None:
    orders = flowing(am, "database-stop")
    while_gone(am, DATABASE_GONE, our_postgres.stop)
    resumes(am, our_postgres.start)
    all_end_paid(am, orders)


def test_a_database_restart_is_survived_while_orders_flow(am: Am, our_postgres: PostgresServer) -> None:
    orders = flowing(am, "database-restart")
    our_postgres.kill()
    our_postgres.start()
    all_end_paid(am, orders)


def test_both_killed_at_once_are_awaited(am: Am, our_broker: RabbitmqNode, our_postgres: PostgresServer) -> None:
    orders = flowing(am, "both")

    def both_die() -> None:
        our_postgres.kill()
        our_broker.kill()

    def both_start() -> None:
        our_broker.start()
        our_postgres.start()

    while_gone(am, BROKER_GONE | DATABASE_GONE, both_die)
    resumes(am, both_start)
    all_end_paid(am, orders)


def test_purged_queues_lose_no_accepted_order(am: Am, our_broker: RabbitmqNode) -> None:
    assert am.house.processes["payment"].terminate() == 0
    orders = [am.buy(f"{AGENT}-purged-{number}") for number in range(4)]
    am.send_orders(orders)
    until("all wait for payment", lambda: {am.state(one.order_no) for one in orders} == {"ready"}, 20)
    listed = our_broker.management.queues
    # One message may name all four of them.
    until("wake-ups in a queue", lambda: listed(am.house.vhost)["daifu.payment"].get("messages", 0) >= 1, 20)
    vhost = quote(am.house.vhost, safe="")
    for name in our_broker.management.queues(am.house.vhost):
        our_broker.management.request("DELETE", f"/queues/{vhost}/{quote(name, safe='')}/contents")
    am.house.replace("payment")
    all_end_paid(am, orders)


def test_after_all_outages_every_order_ended_once_and_the_books_add_up(am: Am) -> None:
    rows = am.rows()
    assert {(row["state"], row["agent_told"]) for row in rows.values()} == {("settled", True)}
    pays = Counter(line["held_order_no"] for line in am.journal() if line["kind"] == "pay")
    assert set(pays.values()) == {1}
    am.audit_is_clean()
