"""The cashier port as a contract: one submit, what its answer proves, what the questions say afterwards."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.errors import Unreachable, UpstreamError
from pipeline.ports import SubmitAnswer, SubmitKind, Trade, TradeState
from tests.contract.railway_subjects import HOLD, NOW, SUBJECTS, Stage, Subject

PAID = Trade(TradeState.PAID, 124100)
WAITING = Trade(TradeState.WAITING, 0)
NONE = Trade(TradeState.NONE, 0)


@pytest.fixture(params=list(SUBJECTS.values()), ids=list(SUBJECTS))
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def yes() -> bool:
    return True


async def pay(subject: Subject) -> tuple[SubmitAnswer, str]:
    """Walk to the form and send it; the answer and the trade number."""
    form = await subject.form()
    line = await subject.cashier.open()
    try:
        return await line.submit(form, yes), form.trade_no
    finally:
        await line.close()


def test_a_trade_that_nobody_sent_is_not_known(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        await subject.cashier.probe()
        assert await subject.cashier.trade("0") == NONE
        assert await subject.cashier.trade((await subject.form()).trade_no) == NONE

    stage.run(scenario)


@pytest.mark.parametrize(
    ("behaviour", "kind", "moved", "trade"),
    [
        ("ok", SubmitKind.SENT, (1, 1), PAID),
        ("timeout_paid", SubmitKind.UNKNOWN, (1, 1), PAID),
        ("reset_after_pay", SubmitKind.UNKNOWN, (1, 1), PAID),
        ("error_paid", SubmitKind.UNKNOWN, (1, 1), PAID),
        ("garbage", SubmitKind.UNKNOWN, (1, 1), PAID),
        ("refuse", SubmitKind.REFUSED, (1, 0), WAITING),
        ("reset_before_read", SubmitKind.UNKNOWN, (0, 0), NONE),
        ("timeout_unpaid", SubmitKind.UNKNOWN, (1, 0), WAITING),
        ("error_unpaid", SubmitKind.UNKNOWN, (1, 0), WAITING),
        ("redirect_307", SubmitKind.UNKNOWN, (1, 0), WAITING),
        ("paid_not_issued", SubmitKind.SENT, (1, 1), PAID),
        ("takes_other_amount", SubmitKind.SENT, (1, 1), Trade(TradeState.PAID, 124200)),
        ("paid_then_refunded", SubmitKind.SENT, (1, 1), Trade(TradeState.REFUNDED, 124100)),
        ("agent_pays_after_look", SubmitKind.UNKNOWN, (1, 0), WAITING),
    ],
)
def test_what_a_submit_proves_and_what_the_cashier_says_then(
    stage: Stage, behaviour: str, kind: SubmitKind, moved: tuple[int, int], trade: Trade
) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour=behaviour)
        answer, trade_no = await pay(subject)
        assert answer.kind is kind
        assert len(answer.detail) <= 200
        assert subject.moved() == moved
        assert await subject.cashier.trade(trade_no) == trade

    stage.run(scenario, timeout_s=0.3 if behaviour.startswith("timeout") else 5)


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        ("ok", "a"),
        ("garbage", "a"),
        ("takes_other_amount", "a"),
        ("agent_pays_after_look", "a"),
        ("paid_then_refunded", "c"),
        ("paid_not_issued", None),
    ],
)
def test_what_12306_lists_after_the_submit(stage: Stage, behaviour: str, status: str | None) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour=behaviour)
        await pay(subject)
        session = await subject.login()
        assert await session.unpaid_orders() == ()
        found = await session.find_order(HOLD, around=NOW)
        await session.close()
        assert {one.status_code for one in found.tickets} == {status} if found is not None else status is None

    stage.run(scenario)


def test_a_late_debit_lands_after_the_first_question(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="late_pay")
        answer, trade_no = await pay(subject)
        assert answer.kind is SubmitKind.UNKNOWN
        assert [await subject.cashier.trade(trade_no) for _ in range(2)] == [WAITING, PAID]

    stage.run(scenario)


def test_a_trade_that_was_never_paid_is_closed_after_its_deadline(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="error_unpaid")
        _, trade_no = await pay(subject)
        subject.clock.move(1800)
        assert await subject.cashier.trade(trade_no) == Trade(TradeState.CLOSED, 0)

    stage.run(scenario)


def test_a_form_after_its_deadline_is_refused_by_name(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        form = await subject.form()
        subject.clock.move(1800)
        line = await subject.cashier.open()
        assert (await line.submit(form, yes)).kind is SubmitKind.REFUSED
        await line.close()
        assert subject.moved() == (1, 0)

    stage.run(scenario)


def test_what_is_not_ours_any_more_never_reaches_the_cashier(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        form = await subject.form()
        line = await subject.cashier.open()
        assert (await line.submit(form, lambda: False)).kind is SubmitKind.NOT_SENT
        await line.close()
        assert subject.moved() == (0, 0)
        assert await subject.cashier.trade(form.trade_no) == NONE

    stage.run(scenario)


def test_after_a_mute_payment_nobody_answers(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="mute_after_pay")
        answer, trade_no = await pay(subject)
        assert answer.kind is SubmitKind.UNKNOWN
        with pytest.raises(UpstreamError):
            await subject.cashier.trade(trade_no)
        session = await subject.login()
        with pytest.raises(UpstreamError):
            await session.unpaid_orders()
        with pytest.raises(UpstreamError):
            await session.find_order(HOLD, around=NOW)
        await session.close()
        assert subject.moved() == (1, 1)

    stage.run(scenario, timeout_s=0.3)


@pytest.mark.parametrize("mode", ["refuse", "503", "maintenance", "timeout"])
def test_a_cashier_that_is_down_is_unreachable_until_it_is_up_again(stage: Stage, mode: str) -> None:
    async def scenario(subject: Subject) -> None:
        subject.world.set_outage({"cashier": True, "mode": mode, "for_s": 60})
        with pytest.raises(Unreachable):
            await subject.cashier.probe()
        with pytest.raises(Unreachable) as caught:
            await subject.cashier.trade("0")
        assert caught.value.upstream == "cashier"
        subject.clock.move(60)
        await subject.cashier.probe()

    stage.run(scenario, timeout_s=0.3 if mode == "timeout" else 5)


@pytest.mark.parametrize("mode", ["503", "maintenance", "timeout"])
def test_a_form_sent_into_an_outage_is_unknown(stage: Stage, mode: str) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        form = await subject.form()
        line = await subject.cashier.open()
        subject.world.set_outage({"cashier": True, "mode": mode, "for_s": 60})
        assert (await line.submit(form, yes)).kind is SubmitKind.UNKNOWN
        await line.close()

    stage.run(scenario, timeout_s=0.3 if mode == "timeout" else 5)


def test_the_agents_own_payment_shows_at_12306_and_not_at_our_trade(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="agent_pays_after_look")
        _, trade_no = await pay(subject)
        subject.clock.move(timedelta(hours=1).total_seconds())
        session = await subject.login()
        assert await session.find_order(HOLD, around=NOW) is not None
        await session.close()
        assert (await subject.cashier.trade(trade_no)).amount_fen == 0

    stage.run(scenario)
