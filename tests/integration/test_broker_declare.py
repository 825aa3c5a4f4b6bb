"""Declaring and comparing the topology, and what its arguments do. RabbitMQ only: `memory://` knows no queue arguments, no
passive comparison and no dead-letter exchange."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import amqp
import pytest

from pipeline.broker import declare
from pipeline.broker.connection import close, connect
from pipeline.broker.declare import Difference, TopologyDiffers
from pipeline.broker.topology import AM_QUEUE, DELIVERY_LIMIT, TOPOLOGY, dead_letter_queue_of, queue_of


@contextmanager
def channel_on(url: str) -> Iterator[Any]:
    connection = connect(url, name="test")
    try:
        yield connection.channel()
    finally:
        close(connection)


def get(channel: Any, queue: str, *, no_ack: bool = True) -> Any:
    """The next message of a queue, waited for."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        message = channel.basic_get(queue, no_ack=no_ack)
        if message is not None:
            return message
        time.sleep(0.05)  # the broker forwards on its own time; it offers no event to wait for
    raise AssertionError(f"nothing in {queue}")


def test_an_empty_broker_differs_in_everything_and_checking_creates_nothing(fresh_vhost: str) -> None:
    differences = declare.check(fresh_vhost)
    names = [f"exchange {it.name}" for it in TOPOLOGY.exchanges] + [f"queue {it.name}" for it in TOPOLOGY.queues]
    assert differences == [Difference(name, "declared", "missing") for name in names]
    assert declare.check(fresh_vhost) == differences


def test_after_apply_nothing_differs_and_applying_again_changes_nothing(fresh_vhost: str) -> None:
    declare.apply(fresh_vhost)
    assert declare.check(fresh_vhost) == []
    declare.apply(fresh_vhost)
    assert declare.check(fresh_vhost) == []


def test_a_queue_with_another_argument_is_named_with_both_values(fresh_vhost: str) -> None:
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT, "x-max-length": 5}
    with channel_on(fresh_vhost) as channel:
        channel.queue_declare(AM_QUEUE, durable=True, auto_delete=False, arguments=arguments)
        channel.queue_declare(queue_of("payment"), durable=True, auto_delete=False)
    told = {difference.object: difference for difference in declare.check(fresh_vhost)}
    length = told[f"queue {AM_QUEUE} x-max-length"]
    assert "100000" in length.expected
    assert "5" in length.found
    kind = told["queue daifu.payment x-queue-type"]
    assert "quorum" in kind.expected
    with pytest.raises(TopologyDiffers, match="inequivalent arg"):
        declare.apply(fresh_vhost)


def test_an_exchange_of_another_type_is_named(fresh_vhost: str) -> None:
    with channel_on(fresh_vhost) as channel:
        channel.exchange_declare("daifu.events", "fanout", durable=True, auto_delete=False)
    differences = [it for it in declare.check(fresh_vhost) if it.found != "missing"]
    assert [(it.object, it.expected, it.found) for it in differences] == [
        ("exchange daifu.events type", "'topic'", "'fanout'")
    ]


def test_the_broker_holds_the_queues_with_the_arguments_of_the_topology(fresh_vhost: str) -> None:
    declare.apply(fresh_vhost)
    with channel_on(fresh_vhost) as channel:
        for queue in TOPOLOGY.queues:
            channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=dict(queue.arguments))
    for left_out in ("x-queue-type", "x-delivery-limit", "x-dead-letter-strategy", "x-overflow"):
        intake = dict(next(queue.arguments for queue in TOPOLOGY.queues if queue.name == queue_of("intake")))
        del intake[left_out]
        with channel_on(fresh_vhost) as channel, pytest.raises(amqp.PreconditionFailed, match=left_out):
            channel.queue_declare(queue_of("intake"), durable=True, auto_delete=False, arguments=intake)


def test_two_processes_may_apply_at_once(fresh_vhost: str) -> None:
    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(declare.apply, fresh_vhost) for _ in range(2)]:
            done.result(timeout=60)
    assert declare.check(fresh_vhost) == []


def test_what_intake_rejects_arrives_in_its_dead_letter_queue(fresh_vhost: str) -> None:
    declare.apply(fresh_vhost)
    with channel_on(fresh_vhost) as channel:
        channel.basic_publish(amqp.Message(b"order", delivery_mode=2), exchange="daifu", routing_key="order.paid")
        delivered = get(channel, queue_of("intake"), no_ack=False)
        channel.basic_reject(delivered.delivery_info["delivery_tag"], requeue=False)
        assert get(channel, dead_letter_queue_of("intake")).body == b"order"


def test_the_queue_of_am_drops_its_oldest_and_a_dead_letter_queue_keeps_all(fresh_vhost: str) -> None:
    """With a small queue of the same kind: the real bound is 100,000."""
    with channel_on(fresh_vhost) as channel:
        arguments = {"x-queue-type": "quorum", "x-max-length": 2, "x-overflow": "drop-head"}
        channel.queue_declare("small", durable=True, auto_delete=False, arguments=arguments)
        for body in (b"1", b"2", b"3"):
            channel.basic_publish_confirm(amqp.Message(body, delivery_mode=2), exchange="", routing_key="small")
        assert get(channel, "small").body == b"2"
