"""The twin without sockets says what a client over HTTP would say, and waits as long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlencode

import pytest

from pipeline.errors import Busy, Declined, LoginRefused, SessionLost, Unreachable
from pipeline.ports import PaymentForm, SubmitAnswer, SubmitKind, TradeState
from pipeline.railway.sandbox.agents import sign
from pipeline.railway.sandbox.inprocess import InProcessAgents, InProcessCashier, InProcessRailway
from tests.unit.sandbox_world import ACCOUNT, HOLD_NO, PASSWORD, START, Payer, hold_body


class Twin:
    """A world with its three doors; sleeping is counted instead of done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = Payer().world
        self.railway = InProcessRailway(self.world, timeout_s=30)
        self.cashier = InProcessCashier(self.world, timeout_s=30)
        self.agents = InProcessAgents(self.world, timeout_s=10)
        self.slept: list[float] = []

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        monkeypatch.setattr("pipeline.railway.sandbox.inprocess.asyncio.sleep", sleep)

    async def form(self) -> PaymentForm:
        session = await self.railway.login(ACCOUNT, PASSWORD)
        return await session.payment_form(HOLD_NO)

    async def submit(self, form: PaymentForm, *, ours: bool = True) -> SubmitAnswer:
        line = await self.cashier.open()
        try:
            return await line.submit(form, lambda: ours)
        finally:
            await line.close()


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Twin:
    return Twin(monkeypatch)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_a_held_order_is_paid_and_found(twin: Twin) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body())
        session = await twin.railway.login(ACCOUNT, PASSWORD)
        (order,) = await session.unpaid_orders()
        assert (order.hold_no, order.total_fen) == (HOLD_NO, 124100)
        form = await session.payment_form(HOLD_NO)
        assert (form.amount_fen, form.deadline, len(form.fields)) == (124100, order.pay_deadline, 17)
        assert (await twin.submit(form)).kind is SubmitKind.SENT
        trade = await twin.cashier.trade(form.trade_no)
        assert (trade.state, trade.amount_fen) == (TradeState.PAID, 124100)
        found = await session.find_order(HOLD_NO, around=START)
        assert found is not None
        assert {ticket.status_code for ticket in found.tickets} == {"a"}
        assert found.pay_deadline is None
        await session.close()

    run(story())


@pytest.mark.parametrize(
    ("behaviour", "kind", "waited"),
    [
        ("timeout_paid", SubmitKind.UNKNOWN, 30),
        ("mute_after_pay", SubmitKind.UNKNOWN, 30),
        ("reset_after_pay", SubmitKind.UNKNOWN, 0),
        ("reset_before_read", SubmitKind.UNKNOWN, 0),
        ("error_unpaid", SubmitKind.UNKNOWN, 0),
        ("redirect_307", SubmitKind.UNKNOWN, 0),
        ("garbage", SubmitKind.UNKNOWN, 0),
        ("late_pay", SubmitKind.UNKNOWN, 0),
        ("refuse", SubmitKind.REFUSED, 0),
        ("paid_not_issued", SubmitKind.SENT, 0),
    ],
)
def test_a_submit_is_read_as_a_client_reads_it(twin: Twin, behaviour: str, kind: SubmitKind, waited: float) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body(behaviour))
        assert (await twin.submit(await twin.form())).kind is kind
        assert sum(twin.slept) == waited

    run(story())


def test_a_form_that_is_no_longer_ours_is_not_sent(twin: Twin) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body())
        form = await twin.form()
        assert (await twin.submit(form, ours=False)).kind is SubmitKind.NOT_SENT
        assert twin.world.hold(HOLD_NO) == {"state": "unpaid", "pays": 0, "debits": 0}

    run(story())


def test_a_line_is_good_for_one_submit(twin: Twin) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body())
        form = await twin.form()
        line = await twin.cashier.open()
        assert (await line.submit(form, lambda: True)).kind is SubmitKind.SENT
        assert (await line.submit(form, lambda: True)).kind is SubmitKind.NOT_SENT
        assert twin.world.hold(HOLD_NO) == {"state": "issued", "pays": 1, "debits": 1}

    run(story())


@pytest.mark.parametrize(("delay_ms", "kind", "waited"), [(4000, SubmitKind.SENT, 4), (30_000, SubmitKind.UNKNOWN, 30)])
def test_a_slow_cashier_is_waited_for_as_long_as_the_time_out(
    twin: Twin, delay_ms: int, kind: SubmitKind, waited: float
) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body(delay_ms=delay_ms))
        assert (await twin.submit(await twin.form())).kind is kind
        assert sum(twin.slept) == waited

    run(story())


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("wrong_password", "wrong_password"), ("account_locked", "account_locked"), ("captcha", "captcha_required")],
)
def test_a_login_is_refused_by_reason(twin: Twin, behaviour: str, reason: str) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body(behaviour))
        with pytest.raises(LoginRefused) as refused:
            await twin.railway.login(ACCOUNT, PASSWORD)
        assert refused.value.reason == reason

    run(story())


def test_a_solver_gets_a_login_past_the_captcha(twin: Twin) -> None:
    class Solver:
        async def solve(self, image: bytes) -> str:
            return image[6:-2].decode()

    async def story() -> None:
        twin.world.add_hold(hold_body("captcha"))
        session = await InProcessRailway(twin.world, solver=Solver()).login(ACCOUNT, PASSWORD)
        assert len(await session.unpaid_orders()) == 1

    run(story())


def test_words_become_errors(twin: Twin) -> None:
    async def story() -> None:
        twin.world.add_hold(hold_body("busy_then_ok"))
        first = await twin.railway.login(ACCOUNT, PASSWORD)
        with pytest.raises(Busy):
            await first.unpaid_orders()
        second = await twin.railway.login(ACCOUNT, PASSWORD)
        with pytest.raises(SessionLost):
            await first.unpaid_orders()
        for _ in range(2):
            with pytest.raises(Busy):
                await second.unpaid_orders()
        with pytest.raises(Declined) as declined:
            await second.payment_form("E000000000")
        assert declined.value.reason == "hold_not_found"

    run(story())


@pytest.mark.parametrize(("mode", "waited"), [("refuse", 0), ("timeout", 30), ("503", 0), ("maintenance", 0)])
def test_an_outage_is_unreachable_on_both_sides(twin: Twin, mode: str, waited: float) -> None:
    async def story() -> None:
        twin.world.set_outage({"railway": True, "cashier": True, "mode": mode, "for_s": 60})
        for probe in (twin.railway.probe, twin.cashier.probe):
            twin.slept.clear()
            with pytest.raises(Unreachable):
                await probe()
            assert sum(twin.slept) == waited

    run(story())


def test_a_cashier_that_refuses_connections_cannot_be_opened(twin: Twin) -> None:
    async def story() -> None:
        twin.world.set_outage({"cashier": True, "mode": "refuse", "for_s": 60})
        with pytest.raises(Unreachable):
            await twin.cashier.open()

    run(story())


def test_12306s_clock_is_read_at_login(twin: Twin) -> None:
    async def story() -> None:
        twin.world.set_clock({"skew_s": -7})
        twin.world.add_hold(hold_body())
        session = await twin.railway.login(ACCOUNT, PASSWORD)
        assert session.skew_s == -7

    run(story())


@pytest.mark.parametrize(
    ("told", "delivered", "status", "waited"),
    [
        ("ok", True, 200, 0),
        ("false", False, 200, 0),
        ("500", False, 500, 0),
        ("reset", False, None, 0),
        ("timeout", False, None, 10),
    ],
)
def test_an_agent_answers_as_told(twin: Twin, told: str, *, delivered: bool, status: int | None, waited: float) -> None:
    async def story() -> None:
        twin.world.set_agent("demo", {"answer": told, "key": "invented"})
        body = urlencode({"orderNo": "demo1", "payStatus": "2", "HMAC": sign("invented", "demo", "demo1", "2")})
        url = "http://127.0.0.1:8307/sandbox/agents/demo/callback"
        answer = await twin.agents.post(url, body.encode(), {"Webhook-Id": "msg_1"})
        assert (answer.delivered, answer.status) == (delivered, status)
        assert sum(twin.slept) == waited
        (line,) = twin.world.journal()
        assert (line["hmac_ok"], line["webhook_id"], line["outcome"]) == (True, "msg_1", told)

    run(story())


def test_an_address_that_is_no_agents_is_not_found(twin: Twin) -> None:
    async def story() -> None:
        answer = await twin.agents.post("http://127.0.0.1/elsewhere", b"", {})
        assert (answer.delivered, answer.status) == (False, 404)

    run(story())
