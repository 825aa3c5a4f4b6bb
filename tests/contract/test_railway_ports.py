"""The 12306 port as a contract: the HTTP client over the sandbox's web app and the in-process twin pass the same tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import Busy, Declined, Unreachable
from pipeline.ports import RailwayOrder, RailwayTicket
from tests.contract.railway_subjects import HOLD, NOW, SUBJECTS, Stage, Subject

HELD = RailwayOrder(
    hold_no=HOLD,
    train_no="K1234",
    departure_at=datetime(2014, 11, 19, 16, 30, tzinfo=UTC),
    from_station="上海虹桥",
    to_station="北京南",
    tickets=(
        RailwayTicket("张三", "1", "0000***********01X", "硬卧下", "11", "04号下铺", "1", 62050, "i"),
        RailwayTicket("李四", "B", "X000***********001", "硬卧中", "11", "05号中铺", "2", 62050, "i"),
    ),
    total_fen=124100,
    pay_deadline=NOW + timedelta(seconds=1800),
)


@pytest.fixture(params=list(SUBJECTS.values()), ids=list(SUBJECTS))
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_the_probe_is_content_while_12306_is_up(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        await subject.railway.probe()

    stage.run(scenario)


def test_the_unpaid_list_shows_the_hold_to_the_letter(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        session = await subject.login()
        assert await session.unpaid_orders() == (HELD,)
        await session.close()

    stage.run(scenario)


def test_without_a_hold_the_unpaid_list_is_empty(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(deadline_s=-1)
        session = await subject.login()
        assert await session.unpaid_orders() == ()
        await session.close()

    stage.run(scenario)


def test_several_unpaid_orders_are_all_listed(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        subject.add_hold(held_order_no="E987654321", force=True)
        session = await subject.login()
        assert {order.hold_no for order in await session.unpaid_orders()} == {HOLD, "E987654321"}
        await session.close()

    stage.run(scenario)


@pytest.mark.parametrize(
    "seat", ["无座", "硬座", "一等座", "二等座", "商务座", "硬卧上", "软卧下", "高级软卧上", "动卧下"]
)
@pytest.mark.parametrize("ticket_type", ["0", "1", "2"])
def test_seats_and_ticket_types_arrive_as_qunar_names_them(stage: Stage, seat: str, ticket_type: str) -> None:
    async def scenario(subject: Subject) -> None:
        passenger = {"name": "张三", "id_type": "1", "id_no": "00000019000101001X", "ticket_type": ticket_type}
        subject.add_hold(passengers=[passenger], seats=[{"seat": seat, "price_fen": 9550}], price_fen=9550)
        session = await subject.login()
        (order,) = await session.unpaid_orders()
        assert [(one.seat, one.ticket_type, one.price_fen) for one in order.tickets] == [(seat, ticket_type, 9550)]
        await session.close()

    stage.run(scenario)


def test_a_hold_that_is_left_out_at_first_appears_later(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="unpaid_list_empty_at_first")
        session = await subject.login()
        assert [len(await session.unpaid_orders()) for _ in range(3)] == [0, 0, 1]
        await session.close()

    stage.run(scenario)


def test_an_unpaid_order_is_not_in_the_finished_list(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        session = await subject.login()
        assert await session.find_order(HOLD, around=NOW) is None
        assert await session.find_order("E000000000", around=NOW) is None
        await session.close()

    stage.run(scenario)


def test_an_order_that_was_paid_elsewhere_is_in_the_finished_list(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="already_paid")
        session = await subject.login()
        assert await session.unpaid_orders() == ()
        found = await session.find_order(HOLD, around=NOW)
        assert found is not None
        assert (found.hold_no, found.total_fen, found.pay_deadline) == (HOLD, 124100, None)
        assert {one.status_code for one in found.tickets} == {"a"}
        assert await session.find_order(HOLD, around=NOW + timedelta(days=2)) is None
        assert await session.find_order(HOLD, around=NOW - timedelta(days=1)) == found
        await session.close()

    stage.run(scenario)


def test_a_trip_of_the_past_is_found_too(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="already_paid", departure_at="2014-11-16T00:30:00+08:00")
        session = await subject.login()
        assert await session.find_order(HOLD, around=NOW) is not None
        await session.close()

    stage.run(scenario)


def test_busy_is_busy_and_passes(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="busy_then_ok")
        session = await subject.login()
        for _ in range(3):
            with pytest.raises(Busy):
                await session.unpaid_orders()
        assert len(await session.unpaid_orders()) == 1
        await session.close()

    stage.run(scenario)


def test_a_payment_form_is_for_the_hold_its_amount_and_its_deadline(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        form = await subject.form()
        assert (form.hold_no, form.amount_fen, form.deadline) == (HOLD, 124100, HELD.pay_deadline)
        assert form.trade_no.startswith(f"3{HOLD}")
        fields = dict(form.fields)
        assert len(form.fields) == len(fields) == 17
        assert (fields["ord_id_ext"], fields["ord_amt"]) == (form.trade_no, "1241.00")
        assert (fields["ord_name"], fields["service"]) == ("火车票", "create_direct_pay_by_user")
        assert (await subject.form()).trade_no != form.trade_no
        assert subject.moved() == (0, 0)

    stage.run(scenario)


def test_a_hold_that_nobody_knows_is_declined_by_name(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour="hold_not_found")
        for hold_no in (HOLD, "E000000000"):
            with pytest.raises(Declined) as declined:
                await subject.form(hold_no)
            assert declined.value.reason == "hold_not_found"

    stage.run(scenario)


@pytest.mark.parametrize("behaviour", ["already_paid", "hold_expired"])
def test_a_hold_that_can_not_be_paid_now_is_a_question_and_no_refusal(stage: Stage, behaviour: str) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold(behaviour=behaviour)
        with pytest.raises(Busy):
            await subject.form()

    stage.run(scenario)


@pytest.mark.parametrize("mode", ["refuse", "503", "maintenance", "timeout"])
def test_12306_down_is_unreachable_until_it_is_up_again(stage: Stage, mode: str) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        session = await subject.login()
        subject.world.set_outage({"railway": True, "mode": mode, "for_s": 60})
        with pytest.raises(Unreachable):
            await subject.railway.probe()
        with pytest.raises(Unreachable):
            await subject.login()
        with pytest.raises(Unreachable):
            await session.unpaid_orders()
        with pytest.raises(Unreachable):
            await session.payment_form(HOLD)
        subject.clock.move(60)
        await subject.railway.probe()
        assert len(await session.unpaid_orders()) == 1
        await session.close()

    stage.run(scenario, timeout_s=0.3 if mode == "timeout" else 5)


def test_a_closed_session_may_be_closed_again(stage: Stage) -> None:
    async def scenario(subject: Subject) -> None:
        subject.add_hold()
        session = await subject.login()
        await session.close()
        await session.close()

    stage.run(scenario)
