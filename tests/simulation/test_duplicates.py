"""Messages that come twice, late, in any order or not at all: the rows hold the work, so nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import random

import pytest

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import AGENT, SAMPLE, hold_body, order_paid, ticket
from schemas.am_messages import AmEvent, Confirmed, RefundArrived
from schemas.orders import Ticket
from tests.simulation import books

NUMBERS = [f"{SAMPLE}-{n}" for n in range(5)]


def held(house: House, order_no: str) -> list[AmEvent]:
    """A hold, and the messages of its order: paid and need_pay."""
    number, account, password = f"E{order_no[-1]}00000001", f"{order_no}@example.com", f"invented-{order_no}"
    house.world.add_hold(hold_body(number, account, password, "ok"))
    return [house.event(order_paid(order_no)), house.need_pay(order_no, number, account, password)]


def all_paid_once(house: House) -> bool:
    return books.is_done(house, *NUMBERS)


def check_paid_once(house: House) -> None:
    books.check_books(house)
    for number in NUMBERS:
        assert books.purchase(house, number).state == "settled"
        assert books.generations(house, number) == 1
        assert books.told(house, number) == ["1"]
        assert books.kinds(house, number) == ["freeze", "hold", "post", "unfreeze"]
        events = books.results_of(house, number)
        assert sorted(event.data.seq for event in events) == [1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_every_message_three_times_in_any_order_pays_every_order_once(seed: int) -> None:
    async def scenario(house: House) -> None:
        messages = [event for number in NUMBERS for event in held(house, number)] * 3
        random.Random(seed).shuffle(messages)
        for message in messages:
            await house.send(message)
            await house.rest(house.randomness.choice((0.0, 0.0, 0.3, 20.0)))
        await house.until(lambda: all_paid_once(house))
        await house.rest(30)
        check_paid_once(house)

    simulate(scenario, seed=seed)


@pytest.mark.parametrize("queues", [(), ("payment",), ("credentials",), ("settlement",), ("notification",)])
def test_lost_wakeups_are_published_again_by_the_relay(queues: tuple[str, ...]) -> None:
    async def scenario(house: House) -> None:
        names = [f"daifu.{stage}" for stage in queues or ("credentials", "payment", "settlement", "notification")]
        for number in NUMBERS:
            await house.send(*held(house, number))
        house.broker.bad_day.copies = lambda queue: 0 if queue in names else 1
        for _ in range(40):
            await house.rest(3)
            house.broker.bad_day.copies = lambda queue: int(queue not in names or house.randomness.random() < 0.2)
        house.broker.recover()
        await house.until(lambda: all_paid_once(house))
        await house.rest(30)
        check_paid_once(house)

    simulate(scenario)


@pytest.mark.parametrize("moment_s", [0.0, 0.5, 1.0, 2.0, 5.0, 30.0])
def test_a_broker_that_lost_its_disk_at_any_moment_loses_no_accepted_order(moment_s: float) -> None:
    async def scenario(house: House) -> None:
        house.broker.bad_day.delay_s = lambda _queue: house.randomness.uniform(0, 1)
        for number in NUMBERS:
            await house.send(*held(house, number))
        house.broker.bad_day.delay_s = lambda queue: 0 if queue == "daifu.intake" else house.randomness.uniform(0, 20)
        await house.until(lambda: all(books.generations(house, number) for number in NUMBERS))
        await house.rest(moment_s)
        house.broker.lose_disk()
        house.broker.bad_day.delay_s = lambda _queue: 0.0
        await house.until(lambda: all_paid_once(house))
        await house.rest(30)
        for number in NUMBERS:
            assert books.told(house, number) == ["1"]
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize("copies", [2, 5])
def test_duplicated_and_shuffled_wakeups_over_two_workers_a_stage_do_nothing_twice(copies: int) -> None:
    async def scenario(house: House) -> None:
        house.broker.bad_day.copies = lambda _queue: copies
        house.broker.bad_day.delay_s = lambda _queue: house.randomness.choice((0.0, 0.1, 7.0, 90.0))
        house.broker.bad_day.shuffle = random.Random(copies)
        house.broker.bad_day.most_per_take = 1
        for number in NUMBERS:
            await house.send(*held(house, number))
        await house.until(lambda: all_paid_once(house))
        await house.rest(200)
        check_paid_once(house)

    simulate(scenario, workers=2)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_publishes_that_fail_or_are_never_confirmed_delay_and_lose_nothing(fault: str) -> None:
    async def scenario(house: House) -> None:
        for number in NUMBERS:
            await house.send(*held(house, number))
        house.broker.bad_day.publish_faults.extend([fault] * 5)  # type: ignore[list-item]  # both are faults
        await house.until(lambda: all_paid_once(house))
        await house.rest(60)
        assert not house.broker.bad_day.publish_faults
        check_paid_once(house)

    simulate(scenario)


def test_a_broker_that_is_down_for_an_hour_delays_and_the_connection_that_broke_acks_nothing() -> None:
    async def scenario(house: House) -> None:
        await house.send(*held(house, NUMBERS[0]))
        await house.until(lambda: books.generations(house, NUMBERS[0]) == 1)
        house.broker.bad_day.down = True
        house.broker.break_connections()
        await house.rest(600)
        house.broker.recover()
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        assert books.purchase(house, NUMBERS[0]).state == "settled"
        books.check_books(house)

    simulate(scenario)


def test_a_request_that_overtakes_its_order_waits_for_it() -> None:
    async def scenario(house: House) -> None:
        paid, request = held(house, NUMBERS[0])
        await house.send(request)
        await house.rest(290)
        assert books.answer_to(house, request.id) == "waiting"
        await house.send(paid)
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        assert books.purchase(house, NUMBERS[0]).state == "settled"
        assert books.answer_to(house, request.id) == "accepted"
        books.check_books(house)

    simulate(scenario)


def test_a_request_whose_order_never_comes_is_refused_with_112_and_a_late_order_pays_nothing() -> None:
    async def scenario(house: House) -> None:
        paid, request = held(house, NUMBERS[0])
        await house.send(request, request)
        await house.rest(310)
        assert books.answer_to(house, request.id) == "refused"
        assert books.refusals(house, NUMBERS[0]) == ["112"]
        assert books.letters(house, NUMBERS[0]) == [("intake", "order_unknown", "open")]
        await house.send(paid, request)
        await house.rest(60)
        assert books.generations(house, NUMBERS[0]) == 0
        assert not books.journal(house, "pay")
        books.check_books(house)

    simulate(scenario)


def test_the_same_id_with_other_content_is_poison_and_changes_nothing() -> None:
    async def scenario(house: House) -> None:
        await house.send(*held(house, NUMBERS[0]))
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        other = house.event(order_paid(NUMBERS[0], fare_fen=1), event_id="same-id")
        first = house.event(order_paid(NUMBERS[1]), event_id="same-id")
        await house.send(first, other)
        await house.rest(5)
        assert [letter.reason for letter in house.letters] == ["poison"]
        assert "id" in house.letters[0].detail
        books.check_books(house)

    simulate(scenario)


def test_tickets_and_refunds_that_come_three_times_count_once() -> None:
    async def scenario(house: House) -> None:
        await house.send(*held(house, NUMBERS[0]))
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        seat = Ticket.model_validate_json(Ticket(**ticket("E000000001")).model_dump_json())
        confirm = house.event(Confirmed(order_no=NUMBERS[0], agent=AGENT, account="a@example.com", tickets=(seat,)))
        refund = house.event(RefundArrived(order_no=NUMBERS[0], agent=AGENT, refund_id="r1", amount_fen=41_300))
        again = house.event(RefundArrived(order_no=NUMBERS[0], agent=AGENT, refund_id="r1", amount_fen=41_300))
        await house.send(confirm, refund, confirm, again, refund, confirm)
        await house.rest(5)
        assert books.kinds(house, NUMBERS[0])[-1] == "railway_refund"
        assert books.kinds(house, NUMBERS[0]).count("railway_refund") == 1
        assert books.balances(house)["refund"] == 41_300
        books.check_books(house)

    simulate(scenario)


def test_two_copies_in_one_batch_are_accepted_once() -> None:
    async def scenario(house: House) -> None:
        messages = held(house, NUMBERS[0])
        await house.send(*messages, *messages)  # one publish: they arrive together
        await asyncio.sleep(0)
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        assert books.generations(house, NUMBERS[0]) == 1
        books.check_books(house)

    simulate(scenario)
