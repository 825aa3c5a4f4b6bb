"""Words that tests use to talk to a broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pika

from pipeline.broker.connection import close, connect
from pipeline.broker.port import BrokerUnavailable, Delivery, Inbox, Outbox, Outgoing
from pipeline.broker.topology import EXCHANGE, queue_of, wake_key

PAYMENT = queue_of("payment")


def wake(body: bytes) -> Outgoing:
    return Outgoing(EXCHANGE, wake_key("payment"), body)


async def take(inbox: Inbox, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < count:
        taken += await inbox.take(count - len(taken))
    return taken


def look(url: str, queue: str) -> Any:
    """The broker's answer about a queue: `message_count` (held by no consumer) and `consumer_count`."""
    connection = connect(url, name="test looks")
    try:
        return connection.channel().queue_declare(queue, passive=True)
    finally:
        close(connection)


def publish_raw(url: str, routing_key: str, *bodies: bytes) -> None:
    """Send what no SDK would. Each is confirmed: a quorum queue may lose what a channel published without confirms and closed upon.

    RabbitMQ 3.10 under load lost 10 of 1,200: it forgets the closed channel while its last messages are still on their way.
    """
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish(EXCHANGE, routing_key, body)
    connection.close()


def ready_messages(url: str, queue: str) -> int:
    return int(look(url, queue).message_count)


def consumers(url: str, queue: str) -> int:
    """A quorum queue goes on counting a cancelled consumer that holds unacked messages."""
    return int(look(url, queue).consumer_count)


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


async def until_published(outbox: Outbox, message: Outgoing) -> None:
    """Publish as the relay does: again, until it is confirmed."""
    for _ in range(40):
        try:
            await outbox.publish([message])
        except BrokerUnavailable:
            continue
        return
    raise AssertionError("never confirmed")
