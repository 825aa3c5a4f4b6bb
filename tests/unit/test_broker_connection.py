"""Addresses are read strictly and shown without their credentials; unreadable properties never reach py-amqp."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import amqp
import pytest

from pipeline.broker.connection import connect, frames_without_properties, parse_url, safe_url, words
from pipeline.broker.factory import open_broker
from pipeline.broker.owner import Backoff
from pipeline.broker.port import BrokerUnavailable

SECRET = "not-a-real-password"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"amqp://app:{SECRET}@mq.example:5673/daifu", "amqp://***@mq.example:5673/daifu"),
        (f"amqps://app:{SECRET}@[::1]/daifu?x={SECRET}", "amqps://***@[::1]/daifu"),
        ("memory://", "memory://"),
        (f"amqp://app:12/{SECRET}@mq.example/x", "amqp://***@mq.example/x"),
        (f"amqp://app:#{SECRET}@mq.example/x#y", "amqp://***@mq.example/x"),
        (f"app:{SECRET}@mq.example", "(broker URL without a scheme)"),
        (SECRET, "(broker URL without a scheme)"),
    ],
)
def test_a_shown_address_has_no_credentials(url: str, shown: str) -> None:
    assert safe_url(url) == shown


def test_an_address_is_taken_apart_and_its_parts_decoded() -> None:
    address = parse_url("amqp://a%40b:p%2Fw@mq.example/v%2F1")
    assert (address.host, address.port, address.user, address.password, address.vhost) == (
        "mq.example",
        5672,
        "a@b",
        "p/w",
        "v/1",
    )
    assert "p/w" not in repr(address)


@pytest.mark.parametrize(
    "url", ["amqp://mq.example", "amqp://mq.example/", "amqp://mq.example//", "amqp://mq.example/%2F"]
)
def test_no_path_a_slash_and_an_encoded_slash_all_mean_the_default_vhost(url: str) -> None:
    assert parse_url(url).vhost == "/"


def test_tls_has_its_own_port_and_an_ipv6_host_keeps_its_brackets() -> None:
    assert parse_url("amqps://[::1]/x").port == 5671
    assert parse_url("amqps://[::1]/x").host == "[::1]"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"redis://app:{SECRET}@mq.example/0", "must start with amqp://"),
        (f"amqp://app:{SECRET}@mq.example/x?heartbeat=5", "options behind"),
        (f"amqp://app:12/{SECRET}@mq.example/x", "percent-encoded"),
        (f"amqp://app:{SECRET}@mq.example:70000/x", "port must be a number"),
    ],
)
def test_a_wrong_address_is_refused_at_once_without_its_credentials(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        open_broker(url, name="test")
    assert SECRET not in str(caught.value)


def test_an_unreachable_broker_is_named_without_its_credentials(unused_port: Callable[[], int]) -> None:
    with pytest.raises(BrokerUnavailable, match="no connection to amqp://") as caught:
        connect(f"amqp://app:{SECRET}@127.0.0.1:{unused_port()}/x", name="test")
    assert SECRET not in str(caught.value)


@pytest.fixture
def unused_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


def deliver(properties: bytes, body: bytes) -> list[Any]:
    """Feed one delivery, frame by frame; returns what arrives."""
    arrived: list[Any] = []
    connection = SimpleNamespace(bytes_recv=0)

    def callback(channel: int, method: tuple[int, int], args: bytes, content: Any) -> None:
        arrived.append(content)

    on_frame = frames_without_properties(connection, callback)
    on_frame((1, 1, struct.pack(">HH", 60, 60)))
    on_frame((2, 1, struct.pack(">HHQ", 60, 0, len(body)) + properties))
    if body:
        on_frame((3, 1, body))
    return arrived


def header_property(kind: bytes, value: bytes) -> bytes:
    table = b"\x01t" + kind + value
    return struct.pack(">HI", 0x2000, len(table)) + table


@pytest.mark.parametrize(
    "properties",
    [
        header_property(b"T", struct.pack(">Q", 1_763_850_000_000)),  # milliseconds: a year py-amqp can't hold
        header_property(b"?", b""),
        struct.pack(">HB", 0x8000, 2) + b"\xff\xfe",  # a content type that is not UTF-8
        b"\x00\x00",
    ],
)
def test_a_message_with_unreadable_properties_still_arrives_whole(properties: bytes) -> None:
    (message,) = deliver(properties, b"{}")
    assert message.body == b"{}"
    assert message.properties == {}


def test_an_empty_message_arrives_too() -> None:
    assert len(deliver(header_property(b"?", b""), b"")) == 1


def test_py_amqp_itself_still_fails_on_such_properties() -> None:
    """If this one fails, the frame handler of ours is no longer needed."""
    with pytest.raises(ValueError, match="year"):
        amqp.Message().inbound_header(
            struct.pack(">HHQ", 60, 0, 2) + header_property(b"T", struct.pack(">Q", 1_763_850_000_000))
        )


def test_a_broker_error_is_told_in_the_brokers_own_words() -> None:
    assert words(amqp.NotFound("NOT_FOUND - no queue 'x'")) == "NOT_FOUND - no queue 'x'"
    assert words(TimeoutError()) == "TimeoutError"


def test_waiting_times_double_to_their_bound_and_start_anew_after_a_success() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0, uniform=lambda low, high: high)
    assert [round(backoff.next_s(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.1)


def test_waiting_times_are_spread_between_half_and_all() -> None:
    spread = Backoff(first_s=1.0, most_s=1.0, uniform=random.Random(7).uniform)
    times = [spread.next_s() for _ in range(200)]
    assert 0.5 <= min(times) < 0.6
    assert 0.9 < max(times) <= 1.0
