"""A day on which the overview, the tasks and the pauses have something in every column."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from pipeline import operations
from pipeline.operations import Scope
from pipeline.reasons import Reason
from pipeline.store import audit_runs, control, dead_letters, task_rounds, tasks
from pipeline.store.audit import CHECKED, Broken, Report
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, House

HOUR_US = 3_600_000_000
# How long ago payments in doubt were submitted, in seconds.
DOUBTS_S = (20, 400, 2_000, 5_000, 100_000)
WORKERS = {"intake": 2, "credentials": 1, "payment": 3, "settlement": 1}


def make_busy(house: House) -> None:
    """Everything is there that a bad day brings."""
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.made += ["-"] * 500  # numbers that nobody has
    orders.set_up()
    for seconds in DOUBTS_S:
        order_no = orders.in_doubt()
        house.write(lambda tx, us=seconds * 1_000_000, no=order_no: _submitted_ago(tx, no, us))
    for hours in range(0, 22, 2):
        for number in range(1 + hours % 3):
            made = orders.settled() if (hours + number) % 3 else orders.held_unpaid(Reason.PRICE_MISMATCH)
            house.write(lambda tx, us=hours * HOUR_US, no=made: _concluded_ago(tx, no, us))
    for _ in range(3):
        orders.requested()
    order_no = orders.settled()
    house.write(lambda tx: _people_at_work(tx, order_no))


def _submitted_ago(tx: Transaction, order_no: str, us: int) -> None:
    tx.run(text("UPDATE attempts SET submitted_at = submitted_at - :us WHERE order_no = :o"), {"us": us, "o": order_no})


def _concluded_ago(tx: Transaction, order_no: str, us: int) -> None:
    tx.run(
        text("UPDATE purchases SET concluded_at = concluded_at - :us WHERE order_no = :o"), {"us": us, "o": order_no}
    )


def _people_at_work(tx: Transaction, order_no: str) -> None:
    for stage, several in WORKERS.items():
        for number in range(several):
            control.register_worker(tx, f"{stage}-{number}", stage, 3_600.0)
    control.open_breaker(tx, "railway", "503 Service Unavailable: 系统维护中", 30.0)
    tx.run(text("UPDATE breakers SET open_since = open_since - 240000000"))
    tx.run(text("UPDATE work SET lease_owner = 'payment-0', lease_end = due_at + 9000000000 WHERE step = 'ask'"))
    tx.run(text("UPDATE work SET first_failed_at = due_at, last_error = 'timeout' WHERE step = 'pay'"))
    tx.run(text("UPDATE work SET due_at = due_at - 400000000 WHERE step = 'tell'"))
    tx.run(text("UPDATE dead_letters SET deadline = last_at + id * 60000000 WHERE state = 'open'"))
    facts = dead_letters.DeadLetterFacts(
        "notification", order_no, 1, AGENT, Reason.CALLBACK_EXHAUSTED, "代理商回答 500", 9, 124_100, None
    )
    dead_letters.add(tx, facts)
    for kind, reason in (
        ("railway_refund", "12306退款 3100 分, 超过可冲抵的 0 分"),
        ("recovered_hold", "数据库恢复后: 在12306和收银台核实占座 E646076788 是否已支付"),
        ("reconciliation_break", "支付宝账单第 17 行多扣 12.00 元"),
    ):
        tasks.open_task(tx, kind, order_no, f"{order_no}:{kind}", reason)
    task_rounds.keep(tx)
    first, second, third, *_rest = tasks.find(tx)
    operations.take_task(tx, first.id, "human:alice")
    operations.hand_over_task(tx, second.id, "bob", "晚班接手", "human:alice")
    refund = next(task for task in tasks.find(tx) if task.kind == "railway_refund")
    operations.close_task(tx, refund.id, "改签差额, 已入账", "12306账单 11 月 17 日第 9 行", "human:bob")
    operations.pause(tx, Scope.STAGE, "settlement", "财务对账, 完成后恢复", "human:alice")
    operations.pause(tx, Scope.AGENT, AGENT, "代理商要求暂停: 12306账号被占用", "human:bob")
    operations.pause(tx, Scope.ACCOUNT, "user003", "密码待改", "human:alice")
    _audited(tx, third.order_no)


def _audited(tx: Transaction, order_no: str) -> None:
    turn = audit_runs.take_turn(tx, 600.0)
    assert turn is not None
    broken = Broken(CHECKED[0], (order_no,), 100, (order_no,))
    report = Report(ok=False, checked=CHECKED, broken=(broken,))
    audit_runs.end_turn(tx, turn, now(tx) - timedelta(seconds=2), 600.0, report)
