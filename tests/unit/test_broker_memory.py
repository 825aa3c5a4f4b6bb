"""The embedded broker keeps the same ports within one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pipeline.broker import declare, memory
from pipeline.broker.factory import open_broker
from pipeline.broker.memory import MemoryBroker
from pipeline.broker.port import Broker, BrokerUnavailable, Delivery, Inbox, Outgoing
from pipeline.broker.topology import AM_QUEUE, EVENTS, EXCHANGE, queue_of, wake_key


def wake(body: bytes, stage: str = "payment") -> Outgoing:
    return Outgoing(EXCHANGE, wake_key(stage), body)


def run(scenario: Callable[[Broker], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = open_broker("memory://", name="test")
        assert isinstance(broker, MemoryBroker)
        try:
            await asyncio.wait_for(scenario(broker), 10)
        finally:
            await broker.close()

    asyncio.run(main())


async def take(inbox: Inbox, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < count:
        taken += await inbox.take(count - len(taken))
    return taken


def test_messages_arrive_in_order_and_as_the_same_bytes() -> None:
    async def scenario(broker: Broker) -> None:
        bodies = [b"\x00\xff%d" % number for number in range(300)]
        await broker.outbox().publish([wake(body) for body in bodies])
        inbox = broker.inbox(queue_of("payment"), 300)
        assert [one.body for one in await take(inbox, 300)] == bodies

    run(scenario)


def test_a_message_of_am_reaches_intake_and_a_result_reaches_am() -> None:
    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish(
            [Outgoing(EXCHANGE, "order.paid", b"order"), Outgoing(EVENTS, "purchase.settled", b"result")]
        )
        assert (await take(broker.inbox(queue_of("intake"), 5), 1))[0].body == b"order"
        assert (await take(broker.inbox(AM_QUEUE, 5), 1))[0].body == b"result"

    run(scenario)


def test_no_more_than_the_prefetch_is_handed_out_until_something_is_acked() -> None:
    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"%d" % number) for number in range(5)])
        inbox = broker.inbox(queue_of("payment"), 2)
        first = await take(inbox, 2)
        third = asyncio.create_task(inbox.take(5))
        await asyncio.sleep(5 * memory.GLANCE_S)
        assert not third.done()
        inbox.ack(first)
        assert (await third)[0].body == b"2"

    run(scenario)


def test_unacked_messages_go_back_to_the_queue_when_the_inbox_closes() -> None:
    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"kept"), wake(b"acked")])
        inbox = broker.inbox(queue_of("payment"), 5)
        kept, acked = await take(inbox, 2)
        inbox.ack([acked])
        await inbox.close()
        assert not inbox.connected
        (again,) = await take(broker.inbox(queue_of("payment"), 5), 1)
        assert again.body == kept.body == b"kept"
        inbox.ack([kept])  # too late: nothing happens

    run(scenario)


def test_a_closed_broker_leaves_empty_queues_to_the_next() -> None:
    async def leave_one(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"left over")])

    async def expect_another(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"new")])
        assert (await take(broker.inbox(queue_of("payment"), 5), 1))[0].body == b"new"

    run(leave_one)
    run(expect_another)


def test_the_queue_of_am_keeps_only_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "AM_KEPT", 3)

    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([Outgoing(EVENTS, "purchase.settled", b"%d" % number) for number in range(10)])
        assert [one.body for one in await take(broker.inbox(AM_QUEUE, 10), 3)] == [b"7", b"8", b"9"]

    run(scenario)


def test_a_closed_outbox_says_so() -> None:
    async def scenario(broker: Broker) -> None:
        outbox = broker.outbox()
        assert outbox.connected
        await outbox.close()
        assert not outbox.connected
        with pytest.raises(BrokerUnavailable, match="closed"):
            await outbox.publish([wake(b"x")])

    run(scenario)


def test_applying_and_checking_the_topology_need_no_server() -> None:
    declare.apply("memory://")
    assert declare.check("memory://") == []
