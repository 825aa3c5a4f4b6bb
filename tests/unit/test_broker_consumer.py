"""Which acks are sent, and how deliveries reach whoever takes them."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.broker.consumer import Arrivals, RabbitInbox, Subscription, acknowledgements
from pipeline.broker.port import BrokerUnavailable, Delivery


def tags(*numbers: int) -> dict[int, None]:
    return dict.fromkeys(numbers)


def delivery(tag: int) -> Delivery:
    return Delivery(b"%d" % tag, tag, 1, redelivered=False)


def test_everything_up_to_the_last_is_one_multiple_ack() -> None:
    unacked = tags(4, 5, 6, 7)
    assert acknowledgements(unacked, [6, 4, 5]) == [(6, True)]
    assert list(unacked) == [7]


def test_what_leaves_a_gap_is_acked_one_by_one() -> None:
    unacked = tags(1, 2, 3, 4)
    assert acknowledgements(unacked, [1, 3, 4]) == [(1, False), (3, False), (4, False)]
    assert list(unacked) == [2]


def test_a_tag_that_is_not_open_is_never_acked_again() -> None:
    assert acknowledgements(tags(2), [1, 9]) == []


@given(st.sets(st.integers(1, 40)), st.sets(st.integers(1, 40)))
def test_acks_cover_exactly_what_was_asked_and_is_open(open_tags: set[int], asked: set[int]) -> None:
    unacked = tags(*sorted(open_tags))
    at_broker = set(open_tags)
    for tag, multiple in acknowledgements(unacked, asked):
        covered = {known for known in at_broker if known <= tag} if multiple else {tag}
        assert covered <= at_broker
        at_broker -= covered
    assert at_broker == open_tags - asked == set(unacked)


class FakeChannel:
    """Notes what a subscription asks of the broker."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.deliver: Any = None
        self.cancelled_by_broker: Any = None

    def basic_qos(self, *arguments: object) -> None:
        self.calls.append(("qos", *arguments))

    def basic_consume(self, queue: str, *, callback: Any, on_cancel: Any) -> str:
        self.calls.append(("consume", queue))
        self.deliver, self.cancelled_by_broker = callback, on_cancel
        return "consumer-1"

    def basic_cancel(self, tag: str) -> None:
        self.calls.append(("cancel", tag))

    def basic_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's signature
        self.calls.append(("ack", tag, multiple))

    def arrive(self, tag: int) -> None:
        self.deliver(SimpleNamespace(body=b"x", delivery_info={"delivery_tag": tag, "redelivered": False}))


def opened(subscription: Subscription) -> FakeChannel:
    channel = FakeChannel()
    subscription.opened(SimpleNamespace(channel=lambda: channel))
    return channel


def test_an_ack_from_before_a_reconnect_is_not_sent() -> None:
    subscription = Subscription("daifu.payment", 10)
    first = opened(subscription)
    first.arrive(1)
    subscription.lost("cut")
    second = opened(subscription)
    second.arrive(1)
    subscription.acks.append((1, (1,)))  # the delivery of the first connection
    subscription.turn()
    assert not [call for call in second.calls if call[0] == "ack"]
    subscription.acks.append((2, (1,)))
    subscription.turn()
    assert second.calls[-1] == ("ack", 1, False)


def test_the_prefetch_is_per_consumer_never_global() -> None:
    assert opened(Subscription("daifu.payment", 10)).calls[0] == ("qos", 0, 10, False)


def test_a_consumer_ended_by_the_broker_costs_the_connection() -> None:
    subscription = Subscription("daifu.payment", 10)
    channel = opened(subscription)
    with pytest.raises(BrokerUnavailable, match=r"basic\.cancel"):
        channel.cancelled_by_broker("consumer-1")


def test_what_a_lost_connection_brought_and_nobody_took_is_forgotten() -> None:
    subscription = Subscription("daifu.payment", 10)
    opened(subscription).arrive(1)
    subscription.lost("cut")
    again = opened(subscription)
    again.arrive(1)

    taken = asyncio.run(subscription.arrivals.take(10))
    assert [one.epoch for one in taken] == [2]


def test_take_returns_what_is_there_and_at_most_what_was_asked() -> None:
    async def scenario() -> list[list[int]]:
        arrivals = Arrivals()
        for tag in range(1, 6):
            arrivals.put(delivery(tag))
        return [[one.tag for one in await arrivals.take(3)] for _ in range(2)]

    assert asyncio.run(scenario()) == [[1, 2, 3], [4, 5]]


def test_take_waits_for_a_message_from_another_thread() -> None:
    async def scenario() -> list[Delivery]:
        arrivals = Arrivals()
        taking = asyncio.create_task(arrivals.take(10))
        await asyncio.sleep(0)

        def arrive() -> None:
            arrivals.put(delivery(1))
            arrivals.announce()

        thread = threading.Thread(target=arrive)
        thread.start()
        taken = await asyncio.wait_for(taking, 5)
        thread.join()
        return taken

    assert [one.tag for one in asyncio.run(scenario())] == [1]


def test_whoever_waits_for_many_is_woken_once_they_are_here_and_takes_all_of_them() -> None:
    async def scenario() -> list[Delivery]:
        arrivals = Arrivals()
        gathering = asyncio.create_task(arrivals.gathered(3))
        await asyncio.sleep(0)

        def arrive(*tags: int) -> None:
            for tag in tags:
                arrivals.put(delivery(tag))
            arrivals.announce()

        await asyncio.to_thread(arrive, 1, 2)
        await asyncio.sleep(0)
        assert not gathering.done()
        await asyncio.to_thread(arrive, 3, 4)
        await asyncio.wait_for(gathering, 5)
        return await arrivals.take(10)

    assert [one.tag for one in asyncio.run(scenario())] == [1, 2, 3, 4]


def test_who_stopped_waiting_for_many_is_woken_by_one() -> None:
    async def scenario() -> list[Delivery]:
        arrivals = Arrivals()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(arrivals.gathered(2), 0.001)
        taking = asyncio.create_task(arrivals.take(10))
        await asyncio.sleep(0)
        arrivals.put(delivery(1))
        await asyncio.to_thread(arrivals.announce)
        return await asyncio.wait_for(taking, 5)

    assert [one.tag for one in asyncio.run(scenario())] == [1]


def test_a_prefetch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="prefetch 0"):
        RabbitInbox("amqp://127.0.0.1/", "daifu.payment", 0, name="test")
