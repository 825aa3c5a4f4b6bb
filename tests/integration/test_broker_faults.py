"""What the broker's client does when the network or the broker fails, through a proxy that can be told to.

RabbitMQ only: `memory://` has no connection to lose, no confirms to wait for, and no redelivery.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import pytest

from pipeline.broker import declare
from pipeline.broker.connection import close, connect
from pipeline.broker.factory import RabbitBroker
from pipeline.broker.port import BrokerUnavailable, Outgoing, Unroutable
from pipeline.broker.topology import EXCHANGE
from tests.integration.broker_proxy import Proxy
from tests.integration.broker_talk import PAYMENT, take, until, until_published, wake
from tests.services.broker import RabbitmqNode

Scenario = Callable[[Proxy, RabbitBroker], Awaitable[None]]


def run(url: str, scenario: Scenario, *, heartbeat_s: int = 20, events: list[str] | None = None) -> None:
    def note(event: str, fields: Mapping[str, object]) -> None:
        if events is not None:
            events.append(event)

    async def main() -> None:
        async with Proxy(url) as proxy:
            broker = RabbitBroker(proxy.url, name="test", on_event=note, confirm_timeout_s=0.5, heartbeat_s=heartbeat_s)
            try:
                await asyncio.wait_for(scenario(proxy, broker), 60)
            finally:
                await broker.close()

    asyncio.run(main())


@pytest.fixture
def declared(fresh_vhost: str) -> str:
    declare.apply(fresh_vhost)
    return fresh_vhost


def test_a_missing_confirm_costs_the_connection_and_a_late_one_counts_for_nothing(declared: str) -> None:
    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        outbox = broker.outbox()
        await outbox.publish([wake(b"fine")])
        proxy.hold_answers()
        with pytest.raises(BrokerUnavailable, match="silence"):
            await outbox.publish([wake(b"in doubt")])
        proxy.let_answers_through()
        # py-amqp's own confirmed publish would take the late confirm for this one's.
        with pytest.raises(Unroutable):
            await outbox.publish([Outgoing(EXCHANGE, "wake.nowhere", b"nowhere")])
        await outbox.publish([wake(b"fine again")])
        assert len(proxy.lines) == 2
        bodies = [one.body for one in await take(broker.inbox(PAYMENT, 5), 3)]
        assert bodies == [b"fine", b"in doubt", b"fine again"]

    run(declared, scenario)


def test_an_idle_outbox_survives_a_cut_and_publishes_on_a_new_connection(declared: str) -> None:
    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        outbox = broker.outbox()
        await outbox.publish([wake(b"1")])
        proxy.cut()
        await until(lambda: len(proxy.lines) == 2 and outbox.connected)
        await outbox.publish([wake(b"2")])

    run(declared, scenario)


def test_an_unreachable_broker_fails_publishes_and_is_said_once(declared: str) -> None:
    events: list[str] = []

    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        outbox = broker.outbox()
        await outbox.publish([wake(b"1")])
        proxy.open_for_business = False
        proxy.cut()
        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                await outbox.publish([wake(b"2")])
        assert not outbox.connected
        proxy.open_for_business = True
        await until_published(outbox, wake(b"3"))

    run(declared, scenario, events=events)
    assert events == ["broker_connected", "broker_lost", "broker_connected"]


@pytest.mark.parametrize("blow", [Proxy.cut, Proxy.close_by_broker])
def test_nothing_is_lost_when_connections_break_again_and_again(declared: str, blow: Callable[[Proxy], None]) -> None:
    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 50)
        bodies = {b"%d" % number for number in range(300)}

        async def publish() -> None:
            for body in sorted(bodies):
                await until_published(outbox, wake(body))

        publishing = asyncio.create_task(publish())
        seen: set[bytes] = set()
        next_blow = 50
        while seen != bodies:
            batch = await inbox.take(20)
            seen |= {one.body for one in batch}
            inbox.ack(batch)
            if len(seen) >= next_blow:
                next_blow += 100
                blow(proxy)
        await publishing

    run(declared, scenario)


def test_an_ack_after_a_reconnect_is_void_and_the_message_comes_again(declared: str) -> None:
    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        await broker.outbox().publish([wake(b"1"), wake(b"2")])
        inbox = broker.inbox(PAYMENT, 10)
        before = await take(inbox, 2)
        proxy.cut()
        again = await take(inbox, 2)
        assert [one.body for one in again] == [b"1", b"2"]
        assert all(one.redelivered and one.epoch > before[0].epoch for one in again)
        inbox.ack(before)  # same tags, another connection
        await inbox.close()
        third = await take(broker.inbox(PAYMENT, 10), 2)
        assert [one.body for one in third] == [b"1", b"2"]

    run(declared, scenario)


def test_a_consumer_whose_queue_was_deleted_registers_again_once_it_is_back(declared: str) -> None:
    events: list[str] = []

    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 10)
        await until(lambda: inbox.connected and outbox.connected)
        connection = connect(declared, name="test deletes")
        connection.channel().queue_delete(PAYMENT)
        close(connection)
        await until(lambda: not inbox.connected)
        with pytest.raises(Unroutable):
            await outbox.publish([wake(b"nowhere")])
        await asyncio.to_thread(declare.apply, declared)
        await outbox.publish([wake(b"back")])
        assert [one.body for one in await take(inbox, 1)] == [b"back"]

    run(declared, scenario, events=events)
    assert events.count("broker_lost") == 1


def test_heartbeats_go_on_while_the_event_loop_is_blocked(declared: str) -> None:
    async def main() -> None:
        broker = RabbitBroker(declared, name="test", heartbeat_s=2)
        try:
            outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 10)
            await outbox.publish([wake(b"slow")])
            (one,) = await take(inbox, 1)
            time.sleep(7)  # noqa: ASYNC251 - a handler that blocks the whole loop is the point
            assert inbox.connected
            assert outbox.connected
            inbox.ack([one])
            await outbox.publish([wake(b"next")])
            (following,) = await take(inbox, 1)
            assert (following.body, following.epoch) == (b"next", one.epoch)
        finally:
            await broker.close()

    asyncio.run(main())


def test_a_broker_that_says_nothing_at_all_is_left_after_two_heartbeats(declared: str) -> None:
    async def scenario(proxy: Proxy, broker: RabbitBroker) -> None:
        inbox = broker.inbox(PAYMENT, 10)
        await until(lambda: inbox.connected)
        proxy.hold_answers()
        await until(lambda: len(proxy.lines) == 2 and inbox.connected)

    run(declared, scenario, heartbeat_s=2)


def test_a_killed_broker_that_comes_back_has_every_confirmed_message(
    rabbitmq_node: RabbitmqNode, fresh_vhost: str
) -> None:
    declare.apply(fresh_vhost)

    async def main() -> None:
        broker = RabbitBroker(fresh_vhost, name="test", on_event=lambda event, fields: None)
        try:
            outbox, inbox = broker.outbox(), broker.inbox(PAYMENT, 10)
            await outbox.publish([wake(b"held"), wake(b"waiting")])
            (held,) = await inbox.take(1)
            await asyncio.to_thread(rabbitmq_node.kill)
            with pytest.raises(BrokerUnavailable):
                await outbox.publish([wake(b"in doubt")])
            await asyncio.to_thread(rabbitmq_node.start)
            await until_published(outbox, wake(b"after"))
            again = {one.body for one in await take(inbox, 3)}
            assert again >= {held.body, b"waiting", b"after"}
        finally:
            await broker.close()

    asyncio.run(main())
