"""Counting the queues of a real broker: what waits, what is missing, and a connection that is lost meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.broker import declare, gauge
from pipeline.broker.connection import close, connect
from pipeline.broker.factory import open_broker
from pipeline.broker.gauge import RabbitGauge, count_once
from pipeline.broker.topology import AM_QUEUE, TOPOLOGY, dead_letter_queue_of
from tests.integration.broker_proxy import Proxy
from tests.integration.broker_talk import PAYMENT, until, wake


def test_what_waits_is_counted_again_and_again_and_after_a_lost_connection(
    fresh_vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauge, "EVERY_S", 0.1)
    declare.apply(fresh_vhost)
    told: list[str] = []

    async def scenario(proxy: Proxy) -> None:
        broker = open_broker(fresh_vhost, name="test")
        outbox = broker.outbox()
        counting = RabbitGauge(proxy.url, name="test counts", on_event=lambda event, _fields: told.append(event))
        try:
            await until(lambda: outbox.connected and counting.read().ready.get(PAYMENT) == 0)
            await outbox.publish([wake(b"1")] * 5)
            await until(lambda: counting.read().ready[PAYMENT] == 5)
            assert counting.read().ready[dead_letter_queue_of("payment")] == 0
            proxy.cut()
            await until(lambda: "broker_lost" in told)
            await until(lambda: counting.read().ready.get(PAYMENT) == 5)
            assert counting.read().trouble is None
        finally:
            await counting.close()
            await broker.close()

    async def through_a_proxy() -> None:
        async with Proxy(fresh_vhost) as proxy:
            await asyncio.wait_for(scenario(proxy), 60)

    asyncio.run(through_a_proxy())


def test_a_queue_that_is_not_declared_is_told_from_an_empty_one(fresh_vhost: str) -> None:
    assert count_once(fresh_vhost).ready == {queue.name: None for queue in TOPOLOGY.queues}
    declare.apply(fresh_vhost)
    connection = connect(fresh_vhost, name="test")
    connection.channel().queue_delete(AM_QUEUE)
    close(connection)
    ready = count_once(fresh_vhost).ready
    assert [name for name, count in ready.items() if count is None] == [AM_QUEUE]
    assert ready[PAYMENT] == 0
