"""Metrics of one process: bounded, and silent rather than stale."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pipeline.broker.port import BrokerUnavailable, Delivery, Outgoing
from pipeline.clock import WallClock
from pipeline.metered import MeteredInbox, MeteredOutbox
from pipeline.metric_families import END_TO_END_BUCKETS, FAMILIES, Ended
from pipeline.metrics import MOST_AGENTS, OTHER, Metrics
from pipeline.metrics_state import FRESH_S, StateMetrics
from tests.unit.metric_queries import served


def test_every_family_is_registered_with_its_help() -> None:
    text = Metrics().text().decode()
    for family in FAMILIES:
        assert f"# HELP {family.name} {family.help}" in text
        assert f"# TYPE {family.name} {family.kind}" in text


def test_what_the_relay_reads_is_served_while_it_is_fresh_and_by_nobody_else() -> None:
    moment = [0.0]
    registry = CollectorRegistry()
    state = StateMetrics(registry, lambda: moment[0])
    assert "daifu_in_doubt" not in served(generate_latest(registry).decode())
    state.show({"daifu_in_doubt": {(): 3}}, [], every_s=5.0)
    assert registry.get_sample_value("daifu_in_doubt") == 3
    moment[0] = FRESH_S
    assert registry.get_sample_value("daifu_in_doubt") is None
    state.show({"daifu_in_doubt": {(): 0}}, [], every_s=100.0)
    moment[0] += FRESH_S + 1  # a database that is slow to read is read more rarely
    assert registry.get_sample_value("daifu_in_doubt") == 0


def test_purchases_are_counted_on_and_their_times_fall_into_buckets() -> None:
    metrics = Metrics()
    ended = [Ended("purchased", "", 3, 4, 36.0), Ended("held_unpaid", "not_sent", len(END_TO_END_BUCKETS), 1, 90_000.0)]
    for _ in range(2):
        metrics.state.show({}, ended, 5.0)
    value = metrics.registry.get_sample_value
    assert value("daifu_purchases_total", {"outcome": "purchased", "reason": ""}) == 8
    assert value("daifu_end_to_end_seconds_count", {"outcome": "purchased"}) == 8
    assert value("daifu_end_to_end_seconds_sum", {"outcome": "purchased"}) == 72
    assert value("daifu_end_to_end_seconds_bucket", {"outcome": "purchased", "le": "5.0"}) == 0
    assert value("daifu_end_to_end_seconds_bucket", {"outcome": "purchased", "le": "10.0"}) == 8
    assert value("daifu_end_to_end_seconds_bucket", {"outcome": "held_unpaid", "le": "86400.0"}) == 0
    assert value("daifu_end_to_end_seconds_bucket", {"outcome": "held_unpaid", "le": "+Inf"}) == 2


def test_many_agents_do_not_fill_the_metrics() -> None:
    metrics = Metrics()
    for number in range(MOST_AGENTS + 50):
        metrics.called_back(f"agent{number}", "delivered")
    value = metrics.registry.get_sample_value
    assert value("daifu_callbacks_total", {"agent": OTHER, "outcome": "delivered"}) == 50
    metrics.called_back("agent7", "delivered")
    assert value("daifu_callbacks_total", {"agent": "agent7", "outcome": "delivered"}) == 2


def test_a_part_is_asked_at_the_scrape() -> None:
    metrics = Metrics()
    reached = {"database": True, "broker": False}
    metrics.connected("payment", lambda: reached)
    value = metrics.registry.get_sample_value
    assert value("daifu_connected", {"part": "payment", "to": "broker"}) == 0
    reached["broker"] = True
    assert value("daifu_connected", {"part": "payment", "to": "broker"}) == 1


def test_a_ring_without_a_date_says_nothing_of_its_age() -> None:
    metrics = Metrics()
    metrics.key_made("services", None)
    metrics.key_made("passwords", datetime(2026, 1, 1, tzinfo=UTC))
    value = metrics.registry.get_sample_value
    assert value("daifu_key_created_timestamp_seconds", {"ring": "services"}) is None
    assert value("daifu_key_created_timestamp_seconds", {"ring": "passwords"}) == 1767225600


class Line:
    """A broker that confirms until it is gone, and delivers two messages."""

    connected = True
    gone = False

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self.gone:
            raise BrokerUnavailable("gone")

    async def take(self, most: int) -> list[Delivery]:
        return [Delivery(b"", tag, 0, redelivered=False) for tag in range(2)][:most]

    async def gathered(self, count: int) -> None:
        await asyncio.Event().wait()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing is open."""


def test_messages_are_counted_by_opentelemetrys_names() -> None:
    metrics, line = Metrics(), Line()
    outbox = MeteredOutbox(line, metrics, "rabbitmq", WallClock())
    inbox = MeteredInbox(line, metrics, "rabbitmq", "daifu.payment")
    batch = [
        Outgoing("daifu", "wake.payment", b""),
        Outgoing("daifu", "wake.payment", b""),
        Outgoing("daifu.events", "x", b""),
    ]
    asyncio.run(outbox.publish(batch))
    assert len(asyncio.run(inbox.take(10))) == 2
    line.gone = True
    with pytest.raises(BrokerUnavailable):
        asyncio.run(outbox.publish(batch))
    value = metrics.registry.get_sample_value
    to = {"messaging_system": "rabbitmq", "messaging_operation_name": "send", "messaging_destination_name": "daifu"}
    assert value("messaging_client_sent_messages_total", to) == 2
    assert value("messaging_client_operation_duration_seconds_count", to | {"error_type": ""}) == 1
    assert value("messaging_client_operation_duration_seconds_count", to | {"error_type": "BrokerUnavailable"}) == 1
    queue = to | {"messaging_operation_name": "receive", "messaging_destination_name": "daifu.payment"}
    assert value("messaging_client_consumed_messages_total", queue) == 2
