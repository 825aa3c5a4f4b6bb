"""Publishing and consuming on RabbitMQ while nothing fails.

RabbitMQ only, because `memory://` has none of it: returns of unroutable messages, confirms, multiple acks, redelivery after a
close without ack, requeue order, header properties. (`tests/unit/test_broker_memory.py` holds what both can do.)
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import amqp
import kombu
import pytest

from pipeline.broker import declare
from pipeline.broker.connection import close, connect
from pipeline.broker.factory import open_broker
from pipeline.broker.port import Broker, Outgoing, Unroutable
from pipeline.broker.topology import EXCHANGE, dead_key, dead_letter_queue_of, queue_of
from tests.integration.broker_talk import PAYMENT, ready_messages, take, until, wake

_kombu: Any = kombu  # half typed


def run(url: str, scenario: Callable[[Broker], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = open_broker(url, name="test")
        try:
            await asyncio.wait_for(scenario(broker), 60)
        finally:
            await broker.close()

    asyncio.run(main())


@pytest.fixture
def declared(fresh_vhost: str) -> str:
    declare.apply(fresh_vhost)
    return fresh_vhost


def test_ten_thousand_messages_arrive_once_and_in_order_while_both_sides_work(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 600)
        bodies = [b"%d" % number for number in range(10_000)]

        async def publish() -> None:
            for start in range(0, len(bodies), 300):
                await outbox.publish([wake(body) for body in bodies[start : start + 300]])

        publishing = asyncio.create_task(publish())
        arrived: list[bytes] = []
        while len(arrived) < len(bodies):
            batch = await inbox.take(300)
            arrived += [one.body for one in batch]
            inbox.ack(batch)
        await publishing
        assert arrived == bodies
        await inbox.close()
        assert ready_messages(declared, PAYMENT) == 0

    run(declared, scenario)


def test_an_unroutable_message_is_an_error_and_the_outbox_goes_on(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        outbox = broker.outbox()
        with pytest.raises(Unroutable, match=r"wake\.nowhere"):
            await outbox.publish([wake(b"1"), Outgoing(EXCHANGE, "wake.nowhere", b"2")])
        await outbox.publish([wake(b"3")])

    run(declared, scenario)


def test_a_missing_exchange_is_unroutable_and_heals_with_the_topology(fresh_vhost: str) -> None:
    async def scenario(broker: Broker) -> None:
        outbox = broker.outbox()
        with pytest.raises(Unroutable, match="no exchange 'daifu'"):
            await outbox.publish([wake(b"1")])
        declare.apply(fresh_vhost)
        await outbox.publish([wake(b"2")])

    run(fresh_vhost, scenario)


def test_many_callers_share_rounds_of_confirms(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        outbox = broker.outbox()
        await asyncio.gather(*(outbox.publish([wake(b"%d" % number)]) for number in range(500)))
        inbox = broker.inbox(PAYMENT, 500)
        assert {int(one.body) for one in await take(inbox, 500)} == set(range(500))

    run(declared, scenario)


def test_publishing_while_handling_a_message_never_starts_another_handler(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 50)
        await outbox.publish([wake(b"%d" % number) for number in range(50)])
        handled: list[bytes] = []
        while len(handled) < 50:
            (one,) = await inbox.take(1)
            await outbox.publish([Outgoing(EXCHANGE, dead_key("payment"), one.body)])
            handled.append(one.body)
            inbox.ack([one])
        assert handled == [b"%d" % number for number in range(50)]
        await inbox.close()
        assert ready_messages(declared, PAYMENT) == 0
        assert ready_messages(declared, dead_letter_queue_of("payment")) == 50

    run(declared, scenario)


def test_acks_out_of_order_leave_exactly_the_others(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"%d" % number) for number in range(6)])
        inbox = broker.inbox(PAYMENT, 6)
        held = await take(inbox, 6)
        inbox.ack([held[5], held[1], held[2]])
        inbox.ack([held[1]])  # once more: nothing happens
        inbox.ack([held[0]])
        await inbox.close()
        again = await take(broker.inbox(PAYMENT, 6), 2)
        assert sorted(one.body for one in again) == [b"3", b"4"]
        assert all(one.redelivered for one in again)

    run(declared, scenario)


def test_no_more_than_the_prefetch_is_held(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        await broker.outbox().publish([wake(b"%d" % number) for number in range(10)])
        inbox = broker.inbox(PAYMENT, 3)
        held = await take(inbox, 3)
        fourth = asyncio.create_task(inbox.take(10))
        await until(lambda: ready_messages(declared, PAYMENT) == 7)
        assert not fourth.done()
        inbox.ack(held)
        assert (await fourth)[0].body == b"3"

    run(declared, scenario)


def test_a_queue_that_is_not_there_yet_is_waited_for(fresh_vhost: str) -> None:
    async def scenario(broker: Broker) -> None:
        inbox = broker.inbox(PAYMENT, 10)
        await asyncio.sleep(0.3)
        assert not inbox.connected
        declare.apply(fresh_vhost)
        await until(lambda: inbox.connected)

    run(fresh_vhost, scenario)


def test_bytes_stay_bytes_whatever_encoding_the_sender_names(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        with _kombu.Connection(declared, transport_options={"confirm_publish": True}) as sender:
            sender.Producer().publish({"text": "车票"}, exchange=EXCHANGE, routing_key="order.paid")
        (one,) = await take(broker.inbox(queue_of("intake"), 5), 1)
        assert isinstance(one.body, bytes)

    run(declared, scenario)


def with_header_in_milliseconds(body: bytes) -> Any:
    """A message whose header `t` is a timestamp in milliseconds: py-amqp can't decode it, other clients send it."""
    table = b"\x01tT" + struct.pack(">Q", 1_763_850_000_000)
    message = amqp.Message(body)
    message._serialize_properties = lambda: struct.pack(">HI", 0x2000, len(table)) + table
    return message


def test_a_message_with_an_unreadable_header_does_not_block_those_behind_it(declared: str) -> None:
    async def scenario(broker: Broker) -> None:
        connection = connect(declared, name="test sends")
        channel = connection.channel()
        channel.confirm_select()  # see `broker_talk.publish_raw`
        for message in (with_header_in_milliseconds(b"odd"), amqp.Message(b"next")):
            channel.basic_publish_confirm(message, exchange=EXCHANGE, routing_key="order.paid")
        close(connection)
        inbox = broker.inbox(queue_of("intake"), 5)
        assert [one.body for one in await take(inbox, 2)] == [b"odd", b"next"]

    run(declared, scenario)
