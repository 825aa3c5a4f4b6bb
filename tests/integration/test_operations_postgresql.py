"""Operators' acts, queries and the audit on a real PostgreSQL: the same words, the other dialect."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipeline import operations
from pipeline.clock import WallClock
from pipeline.operations import Fate, ReplayResult, Scope
from pipeline.reasons import Reason
from pipeline.store import control, orders, work
from pipeline.store.attempts import STOPPED
from pipeline.store.audit import audit
from pipeline.store.engine import open_store
from pipeline.store.migrate import upgrade
from pipeline.store.queries import funds_of
from pipeline.store.queries_desk import list_accounts, list_agents, list_pauses
from pipeline.store.queries_letters import groups_of_letters
from pipeline.store.queries_orders import OrderFilter, list_orders
from pipeline.store.queries_tasks import list_tasks
from pipeline.store.work import Step
from tests.unit.desk_world import ACCOUNT, AGENT, ANN, BOB, FARE_FEN, HOLD_NO, PRICE_FEN, Desk, StillClock
from tests.unit.message_samples import ORDER_NO


@pytest.fixture
def desk(fresh_database: str) -> Iterator[Desk]:
    upgrade(fresh_database)
    clock = StillClock()
    clock.moment = WallClock().now()  # PostgreSQL keeps its own time
    store = open_store(fresh_database, clock)
    try:
        yield Desk(store, clock)
    finally:
        store.close()


def test_a_replay_opens_the_next_generation(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    assert desk.plan(letter).result == "replay"
    assert desk.replay(letter).result == "replayed"
    desk.run("credentials")
    purchase = desk.purchase()
    assert (purchase.generation, purchase.state, purchase.origin) == (2, "ready", "replay")
    assert desk.read(audit).ok


def test_of_two_replays_at_once_one_is_refused(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    results: list[ReplayResult] = []
    start = threading.Barrier(2)

    def go() -> None:
        start.wait()
        results.append(desk.replay(letter))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.result for result in results) == ["refused", "replayed"]
    assert desk.purchase().generation == 2


def test_an_abnormal_is_closed_by_two_persons(desk: Desk) -> None:
    desk.abnormal()

    def close(actor: str) -> bool:
        done = desk.write(
            lambda tx: operations.close_abnormal(
                tx, ORDER_NO, Fate.TICKETED, PRICE_FEN, "账单第3行", actor, four_eyes_fen=1
            )
        )
        return done.done

    assert [close(ANN), close(BOB)] == [False, True]
    desk.run("settlement")
    assert desk.read(lambda tx: funds_of(tx, AGENT))["available_fen"] == PRICE_FEN
    assert desk.read(audit).ok


def test_a_refund_closes_the_order(desk: Desk) -> None:
    desk.abnormal(Reason.NOT_ISSUED)
    desk.write(
        lambda tx: operations.close_abnormal(
            tx, ORDER_NO, Fate.REFUNDED, PRICE_FEN, "12306退款单", ANN, four_eyes_fen=FARE_FEN
        )
    )
    assert desk.order()["order_state"] == "refunded"
    assert desk.read(audit).ok


@pytest.mark.parametrize(("scope", "name"), [(Scope.STAGE, "payment"), (Scope.AGENT, AGENT), (Scope.ACCOUNT, ACCOUNT)])
def test_a_pause_beats_an_intent(desk: Desk, scope: Scope, name: str) -> None:
    desk.ready()
    attempt = desk.open_attempt()
    assert desk.write(lambda tx: operations.pause(tx, scope, name, "维护", ANN)) == 1
    assert desk.submit(attempt) == STOPPED
    assert len(desk.read(list_pauses)) == 1
    desk.write(lambda tx: operations.resume(tx, scope, name, "恢复", ANN))
    key = work.work_key(ORDER_NO, 1, Step.PAY)
    assert len(desk.write(lambda tx: work.claim(tx, [key], "w", 60.0))) == 1


def test_a_recovery_lists_what_has_to_be_asked_about(desk: Desk) -> None:
    desk.ready()
    since = desk.clock.moment
    desk.write(lambda tx: operations.recover(tx, since, ANN))
    (task,) = desk.read(list_tasks)
    assert (task["kind"], task["order_no"]) == ("recovered_hold", ORDER_NO)
    assert desk.read(lambda tx: control.get_meta(tx, "paying_paused_since")) == since.isoformat()
    assert desk.read(lambda tx: orders.overdue(tx, 10)) == []
    desk.write(lambda tx: operations.close_task(tx, task["id"], "paid", "12306已完成订单页", ANN))
    assert desk.purchase().state == "paid_abnormal"


def test_every_query_reads(desk: Desk) -> None:
    desk.refused_password()
    desk.set_password(login=None)
    desk.ended(Reason.WRONG_PASSWORD)
    every = OrderFilter(AGENT, "purchase_failed", "held_unpaid", "wrong_password", 10)
    (row,) = desk.read(lambda tx: list_orders(tx, every))
    assert (row["order_no"], row["held_order_no"], row["pay_status"]) == (ORDER_NO, HOLD_NO, "2")
    (group,) = desk.read(groups_of_letters)
    assert (group["reason"], group["letters"], group["amount_fen"]) == ("wrong_password", 1, PRICE_FEN)
    assert desk.read(list_agents)[0]["unified_password"]
    assert desk.read(lambda tx: list_accounts(tx, desk.clock.moment))[0]["refused_tries"] == 1
    assert desk.order()["postings"][0]["amount_fen"] == FARE_FEN
