"""Counting queues: in this process, and a broker that is not there."""

from __future__ import annotations

import asyncio
import socket

from pipeline.broker.factory import open_broker
from pipeline.broker.gauge import RabbitGauge, count_once, open_gauge
from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EXCHANGE, TOPOLOGY, dead_letter_queue_of, queue_of, wake_key
from tests.integration.broker_talk import until


def test_in_one_process_its_own_queues_are_counted() -> None:
    async def scenario() -> None:
        broker = open_broker("memory://", name="test")
        gauge = open_gauge("memory://", name="test counts")
        try:
            await broker.outbox().publish([Outgoing(EXCHANGE, wake_key("payment"), b"1")] * 3)
            ready = gauge.read().ready
            assert set(ready) == {queue.name for queue in TOPOLOGY.queues}
            assert (ready[queue_of("payment")], ready[queue_of("intake")]) == (3, 0)
            assert ready[dead_letter_queue_of("payment")] == 0
        finally:
            await gauge.close()
            await broker.close()

    asyncio.run(scenario())


def test_another_process_can_t_count_them_and_says_who_can() -> None:
    assert "daifu up" in str(count_once("memory://").trouble)


def test_a_broker_that_is_away_is_trouble_without_its_password_and_nobody_waits_for_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens: refused
        url = f"amqp://am:secret@127.0.0.1:{taken.getsockname()[1]}/"

        async def scenario() -> None:
            gauge = RabbitGauge(url, name="test counts", on_event=lambda _event, _fields: None)
            try:
                assert gauge.read().ready == {}
                await until(lambda: "no connection to amqp://***@127.0.0.1" in str(gauge.read().trouble))
            finally:
                await gauge.close()

        asyncio.run(scenario())
        once = count_once(url)
    assert once.ready == {}
    assert "secret" not in str(once.trouble)
