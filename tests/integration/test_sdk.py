"""The upstream SDK on a real RabbitMQ."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from pipeline.vault import KeyRing
from producers.sdk import Publisher, Refused, Unreachable, Unroutable
from schemas.am_messages import NeedPay, RefundArrived, parse
from schemas.orders import OrderPaid, Passenger, Seat
from tests.integration.relayed_port import RelayedPort
from tests.services.broker import RabbitmqNode
from tests.services.ports import free_ports

ROOT = Path(__file__).parents[2]
ASKED_AT = datetime(2014, 11, 17, 12, 50, tzinfo=UTC)


def order(number: str = "demo141117203122003") -> OrderPaid:
    return OrderPaid(
        order_no=number,
        agent="demo",
        trip="single",
        train_no="T7",
        from_station="北京西",
        to_station="成都",
        departure_at=datetime(2014, 11, 29, 9, 10, tzinfo=UTC),
        seat=Seat(code="7", price_fen=42800),
        passengers=(Passenger(name="张三", id_type="1", id_no="000000190001010000"),),
        fare_fen=42800,
        ordered_at=ASKED_AT,
        paid_at=ASKED_AT,
    )


@pytest.fixture(scope="module")
def ring() -> KeyRing:
    return KeyRing.generate()


@pytest.fixture
def channel(fresh_vhost: str) -> Iterator[BlockingChannel]:
    """The exchange as `topology apply` makes it, and a queue that takes everything AM sends."""
    connection = pika.BlockingConnection(pika.URLParameters(fresh_vhost))
    channel = connection.channel()
    channel.exchange_declare("daifu", "topic", durable=True)
    channel.queue_declare("all", durable=True, arguments={"x-queue-type": "quorum"})
    for key in ("order.*", "purchase.*"):
        channel.queue_bind("all", "daifu", key)
    yield channel
    connection.close()


def drain(channel: BlockingChannel, queue: str = "all") -> list[tuple[Any, Any, bytes]]:
    taken: list[tuple[Any, Any, bytes]] = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return taken
        taken.append((method, properties, body))


def test_a_published_event_is_stored_as_a_persistent_cloudevent(
    fresh_vhost: str, channel: BlockingChannel, ring: KeyRing
) -> None:
    with Publisher(fresh_vhost, str(ring.public)) as publisher:
        event = publisher.order_paid(order())
        publisher.publish(event)
    ((method, properties, body),) = drain(channel)
    assert method.routing_key == "order.paid"
    assert (properties.content_type, properties.delivery_mode) == ("application/cloudevents+json", 2)
    assert properties.message_id == event.id
    message = parse(body)
    assert (message.source, message.id, message.data) == ("am", event.id, order())


def test_a_password_leaves_sealed_and_only_the_ring_opens_it(
    fresh_vhost: str, channel: BlockingChannel, ring: KeyRing
) -> None:
    with Publisher(fresh_vhost, ring.public) as publisher:
        publisher.publish(
            publisher.need_pay(
                order_no="demo141117203122003",
                agent="demo",
                account="agent_user01",
                password="canary-4711",
                held_order_no="E123456789",
                asked_at=ASKED_AT,
            )
        )
    ((_, _, body),) = drain(channel)
    assert b"canary" not in body
    message = parse(body)
    assert isinstance(message.data, NeedPay)
    assert message.time == ASKED_AT
    assert message.data.password_sealed is not None
    assert ring.open(message.data.password_sealed).reveal() == "canary-4711"


def test_a_thousand_events_are_each_confirmed(fresh_vhost: str, channel: BlockingChannel) -> None:
    with Publisher(fresh_vhost, None) as publisher:
        events = [publisher.order_paid(order(f"demo{number}")) for number in range(1000)]
        results = publisher.publish_many(events)
    assert [result.id for result in results] == [event.id for event in events]
    assert all(result.accepted and result.error is None for result in results)
    assert [properties.message_id for _, properties, _ in drain(channel)] == [event.id for event in events]


def test_what_no_queue_takes_is_named_unroutable_and_the_rest_is_accepted(
    fresh_vhost: str, channel: BlockingChannel
) -> None:
    with Publisher(fresh_vhost, None) as publisher:
        nobodys = publisher.event(RefundArrived(order_no="demo1", agent="demo", refund_id="r1", amount_fen=1))
        results = publisher.publish_many(
            [publisher.order_paid(order("demo1")), nobodys, publisher.order_paid(order("demo2"))]
        )
        assert [result.accepted for result in results] == [True, False, True]
        with pytest.raises(Unroutable, match=r"nothing takes refund\.arrived on daifu: 312"):
            publisher.publish(nobodys)
    assert len(drain(channel)) == 2


def test_a_missing_exchange_is_unroutable_at_once_and_no_time_out(fresh_vhost: str) -> None:
    with Publisher(fresh_vhost, None) as publisher:
        results = publisher.publish_many([publisher.order_paid(order(f"demo{number}")) for number in range(3)])
        assert {type(result.error) for result in results} == {Unroutable}
        assert "no exchange 'daifu'" in str(results[0].error)


def test_a_publisher_goes_on_after_the_exchange_was_made(fresh_vhost: str) -> None:
    with Publisher(fresh_vhost, None) as publisher:
        with pytest.raises(Unroutable):
            publisher.publish(publisher.order_paid(order()))
        connection = pika.BlockingConnection(pika.URLParameters(fresh_vhost))
        made = connection.channel()
        made.exchange_declare("daifu", "topic", durable=True)
        made.queue_declare("all", durable=True)
        made.queue_bind("all", "daifu", "#")
        publisher.publish(publisher.order_paid(order()))
        assert len(drain(made)) == 1
        connection.close()


def test_a_nack_of_a_full_queue_is_refused(fresh_vhost: str, channel: BlockingChannel) -> None:
    channel.queue_declare("full", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.queue_bind("full", "daifu", "refund.*")
    with Publisher(fresh_vhost, None) as publisher:
        refund = publisher.event(RefundArrived(order_no="demo1", agent="demo", refund_id="r1", amount_fen=1))
        results = publisher.publish_many([refund] * 5)  # the limit is kept with a little delay
    assert results[0].accepted
    assert isinstance(results[-1].error, Refused)
    assert "did not take refund.arrived (nack)" in str(results[-1].error)


def test_a_lost_connection_is_mended_and_the_same_ids_go_out_again(
    fresh_vhost: str, channel: BlockingChannel, broker: RabbitmqNode
) -> None:
    with Publisher(fresh_vhost, None) as publisher:
        publisher.publish(publisher.order_paid(order("demo0")))
        with RelayedPort(broker.port) as port:
            address = fresh_vhost.replace(f":{broker.port}/", f":{port.number}/")
            with Publisher(address, None) as cut:
                events = [cut.order_paid(order(f"demo{number}")) for number in range(50)]
                port.cut_after_bytes(20_000)
                results = cut.publish_many(events)
    assert all(result.accepted for result in results)
    arrived = [properties.message_id for _, properties, _ in drain(channel)]
    assert set(arrived) >= {event.id for event in events}
    assert port.connections == 2


def test_a_broker_that_is_away_is_unreachable_and_its_address_hides_the_login(ring: KeyRing) -> None:
    (port,) = free_ports(1)
    with (
        pytest.raises(Unreachable) as caught,
        Publisher(f"amqp://someone:canary-4711@127.0.0.1:{port}/here", ring.public, connect_timeout_s=2),
    ):
        pass
    assert f"amqp://127.0.0.1:{port}/here: Connection refused" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "someone" not in str(caught.value)


def test_a_wrong_login_is_named_without_the_login(fresh_vhost: str) -> None:
    host = fresh_vhost.rpartition("@")[2]
    with (
        pytest.raises(Unreachable, match="the login was refused") as caught,
        Publisher(f"amqp://no:canary@{host}", None),
    ):
        pass
    assert "canary" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with (
        RelayedPort(None) as port,
        pytest.raises(Unreachable),
        Publisher(f"amqp://a:b@127.0.0.1:{port.number}", None, connect_timeout_s=0.3),
    ):
        pass


def test_a_broker_that_goes_away_for_good_leaves_unreachable_results(
    fresh_vhost: str, channel: BlockingChannel, broker: RabbitmqNode
) -> None:
    with RelayedPort(broker.port) as port:
        address = fresh_vhost.replace(f":{broker.port}/", f":{port.number}/")
        publisher = Publisher(address, None, patience_s=0.5, connect_timeout_s=0.5)
        with publisher:
            publisher.publish(publisher.order_paid(order("demo1")))
            port.close()
            result = publisher.publish_many([publisher.order_paid(order("demo2"))])[0]
    assert isinstance(result.error, Unreachable)
    assert not result.accepted
    with pytest.raises(Unreachable, match="the publisher is closed"):
        publisher.publish(publisher.order_paid(order("demo3")))


def test_a_mute_broker_is_given_up_after_the_patience(
    fresh_vhost: str, channel: BlockingChannel, broker: RabbitmqNode
) -> None:
    with RelayedPort(broker.port) as port:
        address = fresh_vhost.replace(f":{broker.port}/", f":{port.number}/")
        with Publisher(address, None, patience_s=0.3, connect_timeout_s=0.3) as publisher:
            port.mute()
            with pytest.raises(Unreachable):
                publisher.publish(publisher.order_paid(order()))


def test_two_threads_may_share_a_publisher(fresh_vhost: str, channel: BlockingChannel) -> None:
    with Publisher(fresh_vhost, None) as publisher:

        def publish(prefix: str) -> None:
            results.extend(publisher.publish_many([publisher.order_paid(order(f"{prefix}{n}")) for n in range(100)]))

        results: list[Any] = []
        threads = [threading.Thread(target=publish, args=(prefix,)) for prefix in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(result.accepted for result in results) == 200
    assert len(drain(channel)) == 200


def test_the_sdk_needs_neither_sqlalchemy_nor_kombu() -> None:
    code = "import sys, json, producers.sdk; print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout)
    assert not {"sqlalchemy", "kombu", "amqp", "aiohttp", "alembic", "psycopg"} & set(loaded)
    assert {"pika", "nacl", "pydantic"} <= set(loaded)
