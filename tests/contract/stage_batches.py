"""Batches of orders taken through the five stages by hand: no broker, no runner, only what each stage writes.

One agent has many orders, each held under a 12306 login of its own, so that a whole batch is paid at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, insert

from consumers.credentials import Credentials
from consumers.intake import Intake
from consumers.notification import Called, Notification
from consumers.payment import Payment, intent_follow_up
from consumers.payment_calls import PaymentCalls
from consumers.payment_login import Login
from consumers.payment_questions import PayTimes, Questions
from consumers.settlement import Settlement
from pipeline.acceptance import Limits
from pipeline.breaker import Breaker
from pipeline.executors import InlineExecutor
from pipeline.intents import IntentWriter
from pipeline.ledger import top_up
from pipeline.ports import (
    CallbackAnswer,
    PaymentForm,
    RailwayOrder,
    RailwayTicket,
    SubmitAnswer,
    SubmitKind,
    Trade,
    TradeState,
)
from pipeline.store import control, ledger
from pipeline.store.engine import Store, Transaction
from pipeline.store.pace import Pace
from pipeline.store.tables import agents
from pipeline.store.work import Step, work_key
from pipeline.vault import KeyRing
from tests.unit.message_samples import NEED_PAY, ORDER, TICKET, body

AGENT = ORDER["agent"]
PAY_WORKER, TELL_WORKER = "payment-1", "notification-1"
LIMITS = Limits(submit_within_s=1200.0, order_wait_s=300.0)
LEASE_S = 120.0
TIMES = PayTimes(60.0, 300.0, LEASE_S, 30.0, 0.0, 60.0, 3.0)
PAID_FEN = 124_100
FUND_FEN = 10**12
TOLD = CallbackAnswer(delivered=True, status=200, answer='{"ret":true}')


class Outside:
    """12306 and the cashier: every login has one hold, `u-E…`; every submit pays it."""

    async def login(self, login: str, password: str) -> OneHold:
        return OneHold(login.removeprefix("u-"))

    async def probe(self) -> None:
        """It answers."""

    async def open(self) -> OpenLine:
        return OpenLine()

    async def trade(self, trade_no: str) -> Trade:
        return Trade(TradeState.PAID, PAID_FEN)

    async def post(self, url: str, form: bytes, headers: dict[str, str]) -> CallbackAnswer:
        return TOLD


class OpenLine:
    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        assert still_ours()
        return SubmitAnswer(SubmitKind.SENT, "")

    async def close(self) -> None:
        """Nothing is open."""


class OneHold:
    """A session whose one hold is unpaid until it is looked for among the paid."""

    skew_s = 0.0

    def __init__(self, hold_no: str) -> None:
        self._hold_no, self._paid = hold_no, False

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        return () if self._paid else (self._order("i"),)

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        self._paid = True
        return self._order("a")

    async def payment_form(self, hold_no: str) -> PaymentForm:
        return PaymentForm(hold_no, f"T{hold_no}", PAID_FEN, soon(), ())

    async def close(self) -> None:
        """Nothing is open."""

    def _order(self, status_code: str) -> RailwayOrder:
        """The hold of the sample order."""
        ticket = RailwayTicket(
            "张三", "1", "000000190001010000", "硬卧下", "11", "04号下铺", "1", PAID_FEN, status_code
        )
        departure = datetime.fromisoformat(ORDER["departure_at"])
        return RailwayOrder(self._hold_no, "T7", departure, "北京西", "成都", (ticket,), PAID_FEN, soon())


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=30)


class Stages:
    """The five stages on one store. `part` is entered around everything that one part of a stage does."""

    def __init__(self, store: Store, part: Callable[[str], Any], paces: Sequence[Pace] = ()) -> None:
        self.store, self._part = store, part
        self.keys = KeyRing.generate()
        outside, executor, clock, whim = Outside(), InlineExecutor(), store.clock, random.Random(1)
        rails = Breaker("railway", outside.probe, store, executor, probe_s=1.0, window_s=60.0)
        till = Breaker("cashier", outside.probe, store, executor, probe_s=1.0, window_s=60.0)
        login = Login(outside, self.keys, store, executor, clock, rails)
        questions = Questions(login, outside, clock, rails, till, TIMES)
        intents = IntentWriter(store, executor, clock, intent_follow_up(PAY_WORKER, LEASE_S))
        calls = PaymentCalls(login, outside, intents, store, executor, clock, whim, rails, till, questions, TIMES)
        self.payment = Payment(calls, questions, PAY_WORKER, LEASE_S, 3.0, whim, lambda: True, paces)
        self.notification = Notification(outside, self.keys, clock, whim, TELL_WORKER, [5.0], LEASE_S, lambda *_: None)
        self.intake = Intake(LIMITS, self.keys.public, clock)
        self._sealed = self.keys.seal("not a real password")
        store.write(self._begin)

    def _begin(self, tx: Transaction) -> None:
        control.register_worker(tx, PAY_WORKER, "payment", 3600.0)
        control.register_worker(tx, TELL_WORKER, "notification", 3600.0)
        row = {
            "code": AGENT,
            "callback_url": "https://agent.example/told",
            "merchant_key_sealed": self.keys.seal("merchant key"),
            "webhook_secret_sealed": self.keys.seal("whsec_bm90IGEgcmVhbCBzZWNyZXQ="),
            "created_at": self.store.clock.now(),
        }
        tx.run(insert(agents).values(**row))
        ledger.apply(tx, [top_up(AGENT, "t1", FUND_FEN, "充值")])

    def order_paid(self, numbers: Sequence[int]) -> list[bytes]:
        moment = self.store.clock.now().isoformat()
        return [
            body("order.paid", ORDER | {"order_no": order_no(n)}, id=f"p{n}", subject=order_no(n), time=moment)
            for n in numbers
        ]

    def need_pay(self, numbers: Sequence[int]) -> list[bytes]:
        moment = self.store.clock.now().isoformat()
        return [
            body("purchase.need_pay", self._request(n), id=f"n{n}", subject=order_no(n), time=moment) for n in numbers
        ]

    def need_pay_with_orders(self, numbers: Sequence[int]) -> list[bytes]:
        """Requests with their orders in them."""
        moment = self.store.clock.now().isoformat()
        whole = {n: self._request(n) | {"order": ORDER | {"order_no": order_no(n)}} for n in numbers}
        return [
            body("purchase.need_pay", data, id=f"n{n}", subject=order_no(n), time=moment) for n, data in whole.items()
        ]

    def _request(self, n: int) -> dict[str, Any]:
        hold = f"E{n:09d}"
        return NEED_PAY | {
            "order_no": order_no(n),
            "account": f"u-{hold}",
            "password_sealed": self._sealed,
            "held_order_no": hold,
            "tickets": [TICKET | {"ticket_no": hold}],
        }

    def accept(self, bodies: Sequence[bytes]) -> None:
        with self._part("intake"):
            taken = self.store.write(lambda tx: self.intake.transact(tx, bodies)).value
        assert taken.letters == []

    def find_credentials(self, numbers: Sequence[int]) -> None:
        with self._part("credentials"):
            self.store.write(lambda tx: Credentials().transact(tx, keys(numbers, 1, Step.CREDENTIALS)))

    def pay(self, numbers: Sequence[int]) -> None:
        with self._part("payment prepare"):
            items = self.store.write(lambda tx: self.payment.prepare(tx, keys(numbers, 1, Step.PAY))).value
        assert len(items) == len(numbers)
        with self._part("payment call"):
            results = asyncio.run(together([self.payment.call(item) for item in items]))
        with self._part("payment conclude"):
            self.store.write(lambda tx: self.payment.conclude(tx, results))

    def settle(self, numbers: Sequence[int]) -> None:
        with self._part("settlement"):
            self.store.write(lambda tx: Settlement().transact(tx, keys(numbers, 1, Step.SETTLE)))

    def tell(self, numbers: Sequence[int]) -> None:
        with self._part("notification prepare"):
            items = self.store.write(lambda tx: self.notification.prepare(tx, keys(numbers, 0, Step.TELL))).value
        assert len(items) == len(numbers)
        with self._part("notification conclude"):
            called = [Called(item, TOLD) for item in items]
            self.store.write(lambda tx: self.notification.conclude(tx, called))

    def all_the_way(self, numbers: Sequence[int]) -> None:
        self.accept([*self.order_paid(numbers), *self.need_pay(numbers)])
        self.find_credentials(numbers)
        self.pay(numbers)
        self.settle(numbers)
        self.tell(numbers)


def order_no(n: int) -> str:
    return f"xcslw{n:015d}"


def keys(numbers: Sequence[int], generation: int, step: Step) -> list[str]:
    return [work_key(order_no(n), generation, step) for n in numbers]


async def together(calls: Sequence[Any]) -> list[Any]:
    return list(await asyncio.gather(*calls))


@contextmanager
def statements_of(store: Store) -> Iterator[list[str]]:
    """Every statement that the store executes meanwhile; an executemany is one for each of its rows."""
    executed: list[str] = []

    def note(*told: Any) -> None:
        _connection, _cursor, statement, parameters, _context, executemany = told
        executed.extend([statement] * (len(parameters) if executemany else 1))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
