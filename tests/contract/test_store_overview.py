"""What the overview and the tasks are read from, on both databases: right, by few statements, and by indexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from pipeline import endings
from pipeline.ledger import Account
from pipeline.operations import Scope, hand_over_task, pause, take_task
from pipeline.reasons import Reason
from pipeline.store import attempts, ledger, task_rounds, tasks
from pipeline.store.engine import Transaction
from pipeline.store.queries_controls import pauses_on
from pipeline.store.queries_overview import overview
from pipeline.store.queries_tasks import NOBODY, TaskFilter, list_tasks, page_of_tasks
from tests.contract.store_subjects import POSTGRESQL, SQLITE, url_of
from tests.unit.console_data import FARE_FEN, PRICE_FEN, Orders
from tests.unit.console_house import AGENT, House, console_at

STATEMENTS = 16  # of one overview, whatever there is
AN_HOUR_AGO = text("UPDATE attempts SET submitted_at = submitted_at - 3700000000 WHERE order_no = :o")


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with console_at(url_of(request.param, request, tmp_path), tmp_path) as house:
        yield house


@pytest.fixture
def orders(house: House) -> Orders:
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    return orders


def test_the_overview_adds_up_with_what_there_is_by_few_statements(house: House, orders: Orders) -> None:
    orders.one_of_each()
    house.write(lambda tx: tx.run(AN_HOUR_AGO, {"o": orders.made[3]}))
    asked: list[str] = []

    def count(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(house.store.engine, "before_cursor_execute", count)
    seen = house.read(overview)
    event.remove(house.store.engine, "before_cursor_execute", count)
    assert len([one for one in asked if one.startswith("SELECT")]) <= STATEMENTS

    stages = {one["stage"]: one for one in seen["stages"]}
    assert list(stages) == ["intake", "credentials", "payment", "settlement", "notification"]
    assert (stages["payment"]["due"], stages["payment"]["dead_letters"]) == (2, 2)  # one to pay, one to ask about
    assert stages["notification"]["due"] == 2
    assert stages["intake"]["per_minute"] > 0
    flight = seen["in_flight"]
    assert sum(age["in_doubt_fen"] + age["abnormal_fen"] for age in flight["ages"]) == flight["total_fen"]
    assert flight["total_fen"] == house.read(lambda tx: ledger.balances(tx, AGENT))[Account.IN_FLIGHT] == 2 * PRICE_FEN
    assert [age["in_doubt"] for age in flight["ages"]] == [0, 0, 0, 1, 0]
    assert [age["abnormal"] for age in flight["ages"]] == [1, 0, 0, 0, 0]
    last = seen["hours"][-2:]  # the hour may turn meanwhile
    assert [sum(hour[name] for hour in last) for name in ("purchased", "held_unpaid", "paid_abnormal")] == [1, 1, 1]
    assert [one["purchases"] for one in seen["holds"]] == [0, 0, 1]
    assert [(one["kind"], one["tasks"], one["free"]) for one in seen["tasks"]] == [("close_abnormal", 1, 1)]


def test_a_payment_in_doubt_for_an_hour_is_one_task_until_its_outcome_is_known(house: House, orders: Orders) -> None:
    order_no, fresh = orders.in_doubt(), orders.in_doubt()
    assert house.write(task_rounds.keep) == 0
    house.write(lambda tx: tx.run(AN_HOUR_AGO, {"o": order_no}))
    assert [house.write(task_rounds.keep) for _ in range(2)] == [1, 0]
    (task,) = house.read(list_tasks)
    assert (task["kind"], task["order_no"], task["agent"], task["amount_fen"]) == (
        "in_doubt",
        order_no,
        AGENT,
        PRICE_FEN,
    )

    purchase = orders.purchase(order_no)

    def conclude(tx: Transaction) -> None:
        attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
        endings.conclude_paid(tx, purchase, attempt, PRICE_FEN, actor="system:payment")

    house.write(conclude)
    house.write(task_rounds.keep)
    assert house.read(list_tasks) == []
    (closed,) = house.read(lambda tx: list_tasks(tx, TaskFilter("closed")))
    assert (closed["resolution"], closed["closed_by"]) == ("purchased", "system:relay")
    assert house.read(lambda tx: list_tasks(tx, TaskFilter("all", order_no=fresh))) == []


def test_an_answer_that_ends_the_doubt_closes_the_task_with_it(house: House, orders: Orders) -> None:
    order_no = orders.in_doubt()
    house.write(lambda tx: tx.run(AN_HOUR_AGO, {"o": order_no}))
    house.write(task_rounds.keep)
    purchase = orders.purchase(order_no)

    def conclude(tx: Transaction) -> None:
        attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
        attempts.asked(tx, [attempt.id])
        attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
        endings.conclude_abnormal(tx, purchase, attempt, Reason.NOT_ISSUED, "", actor="system:payment")

    house.write(conclude)
    assert [task["kind"] for task in house.read(list_tasks)] == ["close_abnormal"]


def test_tasks_are_found_by_owner_kind_and_page(house: House, orders: Orders) -> None:
    order_no = orders.settled()
    for number in range(5):
        uid = f"{order_no}:refund:R{number}"
        house.write(lambda tx, uid=uid: tasks.open_task(tx, "railway_refund", order_no, uid, "多退"))
    first, *_others = [task["id"] for task in house.read(list_tasks)]
    house.write(lambda tx: take_task(tx, first, "human:bob"))
    house.write(lambda tx: hand_over_task(tx, first, "alice", "换班", "human:bob"))
    by_owner = {
        owner: len(house.read(lambda tx, owner=owner: list_tasks(tx, TaskFilter(owner=owner))))
        for owner in ("human:alice", "human:bob", NOBODY)
    }
    assert by_owner == {"human:alice": 1, "human:bob": 0, NOBODY: 4}
    page = house.read(lambda tx: page_of_tasks(tx, TaskFilter(), limit=3))
    rest = house.read(lambda tx: page_of_tasks(tx, TaskFilter(), page.next, limit=3))
    assert [len(page.rows), len(rest.rows), rest.next] == [3, 2, None]
    assert {row["amount_fen"] for row in page.rows} <= {None, PRICE_FEN, FARE_FEN}


def test_a_pause_bites_the_orders_it_holds_back_and_no_others(house: House, orders: Orders) -> None:
    ready, doubt, settled = orders.requested(), orders.in_doubt(), orders.settled()
    login = orders.purchase(ready).login
    house.write(lambda tx: pause(tx, Scope.AGENT, AGENT, "对账", "human:bob"))
    house.write(lambda tx: pause(tx, Scope.ACCOUNT, login, "密码待改", "human:alice"))
    house.write(lambda tx: pause(tx, Scope.STAGE, "payment", "12306异常", "human:alice"))
    bites = {no: [one["scope"] for one in house.read(lambda tx, no=no: pauses_on(tx, no))] for no in orders.made}
    assert bites == {ready: ["account", "agent", "stage"], doubt: [], settled: []}
    assert house.read(lambda tx: pauses_on(tx, ready))[0]["reason"] == "密码待改"


def test_outcomes_per_hour_and_what_is_open_are_found_by_indexes(house: House) -> None:
    if house.store.engine.dialect.name == "sqlite":
        plans = {
            "purchases_concluded": "SELECT state FROM purchases WHERE concluded_at >= 5",
            "work_to_wake": "SELECT stage FROM work WHERE wake_at <= 5",
        }
        for index, statement in plans.items():
            plan = house.read(lambda tx, s=statement: tx.rows(text(f"EXPLAIN QUERY PLAN {s}")))
            assert index in str(plan)
    else:
        names = house.read(lambda tx: [row[0] for row in tx.rows(text("SELECT indexname FROM pg_indexes"))])
        assert {"purchases_concluded", "work_to_wake", "attempts_in_doubt", "tasks_open"} <= set(names)
