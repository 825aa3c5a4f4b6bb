"""The payment stage on a real database, with an upstream that does what a test says."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from consumers.payment import Payment, intent_follow_up
from consumers.payment_calls import PaymentCalls
from consumers.payment_items import PayItem
from consumers.payment_login import Login
from consumers.payment_questions import PayTimes, Questions
from pipeline.breaker import Breaker
from pipeline.executors import InlineExecutor
from pipeline.intents import IntentWriter
from pipeline.ports import (
    PaymentForm,
    Railway,
    RailwayOrder,
    RailwayTicket,
    SubmitAnswer,
    SubmitKind,
    Trade,
    TradeState,
)
from pipeline.store import control, orders, tables, work
from pipeline.store.engine import Transaction
from pipeline.store.work import Step
from tests.unit.desk_world import ACCOUNT, HOLD_NO, Desk
from tests.unit.message_samples import ORDER_NO

WORKER, LEASE_S = "payment-1", 120.0
TIMES = PayTimes(60.0, 300.0, LEASE_S, 30.0, 0.0, 5.0, 0.0)
PAY_KEY = work.work_key(ORDER_NO, 1, Step.PAY)


@dataclass
class Line:
    outside: Outside

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        assert still_ours()
        self.outside.submits += 1
        return SubmitAnswer(SubmitKind.SENT, "")

    async def close(self) -> None:
        if self.outside.closing is not None:
            raise self.outside.closing


@dataclass
class Session:
    outside: Outside
    skew_s: float = 0.0

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        return tuple(self.outside.unpaid)

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        return None

    async def payment_form(self, hold_no: str) -> PaymentForm:
        self.outside.before_form()
        (held,) = self.outside.unpaid
        assert held.pay_deadline is not None
        return PaymentForm(hold_no, "T1", held.total_fen, held.pay_deadline, ())

    async def close(self) -> None:
        self.outside.open_sessions -= 1


@dataclass
class Outside:
    """12306 and the cashier. `before_look` and `before_form` run where their names say."""

    unpaid: list[RailwayOrder] = field(default_factory=list)
    skew_s: float = 0.0
    before_form: Callable[[], None] = lambda: None
    closing: Exception | None = None
    open_sessions: int = 0
    submits: int = 0

    async def login(self, login: str, password: str) -> Session:
        self.open_sessions += 1
        return Session(self, self.skew_s)

    async def probe(self) -> None:
        """It answers."""

    async def open(self) -> Line:
        return Line(self)

    async def trade(self, trade_no: str) -> Trade:
        return Trade(TradeState.NONE, 0)


def held(deadline: datetime) -> RailwayOrder:
    """The hold of the sample order, as 12306 lists it."""
    ticket = RailwayTicket("张三", "1", "000000190001010000", "硬卧下", "11", "04号下铺", "1", 124_100, "i")
    departure = datetime.fromisoformat("2014-11-29T17:10:00+08:00")
    return RailwayOrder(HOLD_NO, "T7", departure, "北京西", "成都", (ticket,), 124_100, deadline)


class PayingDesk:
    """A desk with a payment worker beside it."""

    def __init__(
        self, desk: Desk, outside: Outside, railway: Railway | None = None, *, in_hand_retry_s: float = 0.0
    ) -> None:
        times = replace(TIMES, in_hand_retry_s=in_hand_retry_s)
        self.desk, self.outside = desk, outside
        store, executor, clock = desk.store, InlineExecutor(), desk.clock
        tracks = Breaker("railway", outside.probe, store, executor, probe_s=1.0, window_s=60.0)
        till = Breaker("cashier", outside.probe, store, executor, probe_s=1.0, window_s=60.0)
        self.login = Login(railway or outside, desk.passwords, store, executor, clock, tracks)
        questions = Questions(self.login, outside, clock, tracks, till, times)
        intents = IntentWriter(store, executor, clock, intent_follow_up(WORKER, LEASE_S))
        randomness = random.Random(1)
        self.calls = PaymentCalls(
            self.login, outside, intents, store, executor, clock, randomness, tracks, till, questions, times
        )
        self.stage = Payment(self.calls, questions, WORKER, LEASE_S, 0.0, randomness, lambda: True)
        desk.write(lambda tx: tx.run(tables.workers.delete()))
        desk.write(lambda tx: control.register_worker(tx, WORKER, "payment", LEASE_S))

    def ready(self, **changes: Any) -> None:
        """The purchase waits to be paid, with a password that the worker can open."""
        self.desk.ready(**changes)
        sealed = self.desk.passwords.seal("not a real password")
        key = self.desk.purchase().id
        self.desk.write(lambda tx: orders.update_purchase(tx, key, password_sealed=sealed))

    def claim(self) -> PayItem:
        (item,) = self.desk.write(lambda tx: self.stage.prepare(tx, [PAY_KEY]))
        assert isinstance(item, PayItem)
        return item

    def conclude(self, result: Any) -> None:
        self.desk.write(lambda tx: self.stage.conclude(tx, [result]))

    def row(self, step: Step, generation: int = 1) -> work.WorkRow:
        (row,) = self.desk.read(lambda tx: work.find(tx, [work.work_key(ORDER_NO, generation, step)]))
        return row

    def in_an_hour(self) -> datetime:
        return self.desk.clock.moment + timedelta(hours=1)

    def act(self, task: Callable[[Transaction], Any]) -> None:
        self.desk.write(task)


__all__ = ["ACCOUNT", "LEASE_S", "PAY_KEY", "WORKER", "Outside", "PayingDesk", "held"]
