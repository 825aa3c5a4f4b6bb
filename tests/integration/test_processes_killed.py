"""`kill -9`, SIGSTOP and SIGTERM of real worker processes at their worst moments, on RabbitMQ and PostgreSQL.

The sandbox's journal is the oracle: never more than one pay per hold, and every order ends and is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests.integration.pipeline_endings import paid
from tests.integration.pipeline_house import STAGES, House, start_on
from tests.integration.pipeline_orders import AGENT, Am, Bought
from tests.integration.pipeline_process import until
from tests.services.broker import RabbitmqNode

LEASE_S: Final = 4.0
DRAIN_S: Final = 8.0
TIMES: Final = {"LEASE_S": str(LEASE_S), "DRAIN_S": str(DRAIN_S), "LIST_RETRY_S": "1"}
SLOW_MS: Final = 1500  # the cashier answers this late: longer than it takes to kill, shorter than PAY_TIMEOUT_S
LOOKS_LONG: Final = "unpaid_list_empty_at_first"  # two empty lists, LIST_RETRY_S apart


@pytest.fixture(scope="module")
def am(broker: RabbitmqNode, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Am]:
    vhost = broker.create_vhost()
    house = start_on(tmp_path_factory.mktemp("killed"), broker.url(vhost), module_database, 1, **TIMES)
    try:
        am = Am(house)
        am.add_agent()
        yield am
    finally:
        house.close()
        broker.delete_vhost(vhost)


def all_end_paid(am: Am, orders: list[Bought], within_s: float = 60.0) -> None:
    """Each is settled, told 1, and was paid exactly once."""
    rows = am.wait_ended([one.order_no for one in orders], within_s)
    for one in orders:
        am.check(one, paid(), rows[one.order_no])
        submitted = [attempt for attempt in am.show(one.order_no)["attempts"] if attempt["submitted_at"]]
        assert len(submitted) == 1


def buy(am: Am, name: str, count: int) -> list[Bought]:
    return [am.buy(f"{AGENT}-{name}-{number}") for number in range(count)]


def test_a_payment_worker_killed_while_its_forms_are_out_never_sends_them_again(am: Am) -> None:
    slow = am.buy(f"{AGENT}-killed-submit", delay_ms=SLOW_MS)
    silent = am.buy(f"{AGENT}-killed-silent", "timeout_paid")
    am.send_orders([slow, silent])
    for one in (slow, silent):
        am.wait_line(one, "pay")
    am.house.processes["payment"].kill()
    assert am.state(slow.order_no) == "paying"
    am.house.replace("payment")
    all_end_paid(am, [slow, silent])


def test_a_payment_worker_killed_before_its_intent_leaves_the_payment_to_the_next(am: Am) -> None:
    one = am.buy(f"{AGENT}-killed-look", LOOKS_LONG)
    am.send_orders([one])
    am.wait_line(one, "login")
    am.house.processes["payment"].kill()
    assert not am.lines_of(one, "pay")
    am.house.replace("payment")
    all_end_paid(am, [one])


def test_an_agent_is_told_again_under_the_same_id_when_the_notifier_dies_during_its_call(am: Am) -> None:
    one = am.buy(f"{AGENT}-killed-call")
    am.tell_agent(AGENT, answer="timeout", times=1)
    am.send_orders([one])
    am.wait_line(one, "callback")
    am.house.processes["notification"].kill()
    am.house.replace("notification")
    all_end_paid(am, [one])
    calls = am.lines_of(one, "callback")
    assert [line["outcome"] for line in calls] == ["timeout", "ok"]
    assert len({line["webhook_id"] for line in calls}) == 1


@pytest.mark.parametrize("name", ["intake", "credentials", "settlement", "relay"])
def test_a_process_killed_with_its_hands_full_loses_nothing(am: Am, name: str) -> None:
    """It is frozen before the messages are sent, so that what was delivered to it is surely in its hands when it dies."""
    delivered = buy(am, f"{name}-delivered", 3)
    victim = am.house.processes[name]
    until(f"{name} is ready", victim.is_ready)
    victim.freeze()
    am.send_orders(delivered)
    victim.kill()
    am.house.replace(name)
    all_end_paid(am, delivered)


def test_everything_killed_at_once_goes_on_where_it_was(am: Am) -> None:
    orders = [*buy(am, "blackout", 5), am.buy(f"{AGENT}-blackout-slow", delay_ms=SLOW_MS)]
    am.send_orders(orders)
    am.wait_line(orders[-1], "pay")
    names = (*STAGES, "relay")
    for name in names:
        am.house.processes[name].kill()
    for name in names:
        am.house.start_again(name)
    for name in names:
        until(f"{name} is ready", am.house.processes[name].ready)
    all_end_paid(am, orders)


def test_a_worker_frozen_past_its_lease_pays_nothing_when_it_wakes_up(am: Am) -> None:
    slow = am.buy(f"{AGENT}-frozen-submit", delay_ms=SLOW_MS)
    looking = am.buy(f"{AGENT}-frozen-look", LOOKS_LONG)
    am.send_orders([slow, looking])
    am.wait_line(slow, "pay")
    am.wait_line(looking, "login")
    sleeper = am.house.processes["payment"]
    sleeper.freeze()
    assert not am.lines_of(looking, "pay")
    second = am.house.start_worker("payment", 2)
    until("the second worker is ready", second.ready)
    all_end_paid(am, [slow, looking], 30)
    pays = Counter(line["held_order_no"] for line in am.journal() if line["kind"] == "pay")
    sleeper.thaw()
    until("the sleeper is ready again", sleeper.is_ready, 20)
    after = am.buy(f"{AGENT}-after-the-sleep")
    am.send_orders([after])
    all_end_paid(am, [after])
    now = Counter(line["held_order_no"] for line in am.journal() if line["kind"] == "pay")
    assert now == pays + Counter({after.hold_no: 1})
    assert second.terminate() == 0
    assert sleeper.running


def test_sigterm_concludes_what_is_submitted_and_gives_back_the_rest(am: Am) -> None:
    slow = am.buy(f"{AGENT}-drained-submit", delay_ms=SLOW_MS)
    looking = am.buy(f"{AGENT}-drained-look", LOOKS_LONG)
    am.send_orders([slow, looking])
    am.wait_line(slow, "pay")
    am.wait_line(looking, "login")
    assert am.house.processes["payment"].terminate(DRAIN_S + 2) == 0
    assert not am.lines_of(looking, "pay")
    assert am.state(looking.order_no) == "ready", am.show(looking.order_no)  # nobody has to wait for its lease
    all_end_paid(am, [slow])
    am.house.replace("payment")
    all_end_paid(am, [looking])
    assert "drain_cut_short" not in am.house.logs()


def test_every_order_has_ended_the_books_add_up_and_no_hold_was_paid_twice(am: Am) -> None:
    rows = am.rows()
    assert {(row["state"], row["agent_told"]) for row in rows.values()} == {("settled", True)}
    pays = Counter(line["held_order_no"] for line in am.journal() if line["kind"] == "pay")
    assert set(pays.values()) == {1}
    assert len(pays) == len(rows)
    am.audit_is_clean()


def test_sigterm_ends_every_process_with_0_within_the_drain_time(am: Am) -> None:
    house: House = am.house
    for process in house.processes.values():
        if process.running:
            process.ask_to_end()
    codes = {name: process.wait(DRAIN_S) for name, process in house.processes.items() if name != "payment-2"}
    assert set(codes.values()) == {0}, codes
    bad = ("item_failed", "call_failed", "claim_failed", "message_failed", "part_broke", "Traceback")
    assert not [line for line in house.logs().splitlines() if any(word in line for word in bad)]
