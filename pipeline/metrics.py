"""Prometheus metrics of one process (all of them: `metric_families`). What the relay reads from the database comes as a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from pipeline.metric_families import BY_NAME, SECONDS_BUCKETS
from pipeline.metrics_state import StateMetrics

MOST_AGENTS: Final = 200  # of the callbacks' label
OTHER: Final = "other"

Connections = Callable[[], Mapping[str, bool]]


class Metrics:
    """Each process has its own registry, so that several can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.state = StateMetrics(self.registry)
        self.critical_time = self._histogram("daifu_critical_time_seconds")
        self.call_time = self._histogram("daifu_call_seconds")
        self.door_requests = self._counter("daifu_door_requests_total")
        self.door_time = self._histogram("daifu_door_seconds")
        self.messages = self._counter("daifu_messages_total")
        self.lease_conflicts = self._counter("daifu_lease_conflicts_total")
        self.callbacks = self._counter("daifu_callbacks_total")
        self.key_created = self._gauge("daifu_key_created_timestamp_seconds")
        self.consumed = self._counter("messaging_client_consumed_messages_total")
        self.sent = self._counter("messaging_client_sent_messages_total")
        self.operation_time = self._histogram("messaging_client_operation_duration_seconds")
        self.process_time = self._histogram("messaging_process_duration_seconds")
        self._answered: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._agents: set[str] = set()
        self._parts: dict[str, Connections] = {}
        self.registry.register(_Connected(self._parts))

    def called_back(self, agent: str, outcome: str) -> None:
        """One call to an agent's address."""
        if agent not in self._agents:
            if len(self._agents) >= MOST_AGENTS:
                agent = OTHER
            else:
                self._agents.add(agent)
        self.callbacks.labels(agent, outcome).inc()

    def answered(self, kind: str, err_code: str, seconds: float) -> None:
        """One request of an agent's program. `err_code` as it was told, empty for `ret` true."""
        counted = self._answered.get((kind, err_code))
        if counted is None:  # looking the labels up is most of counting, and repeats come in thousands
            counted = self.door_requests.labels(kind, err_code), self.door_time.labels(kind)
            self._answered[kind, err_code] = counted
        requests, time = counted
        requests.inc()
        time.observe(seconds)

    def connected(self, part: str, connections: Connections) -> None:
        """Ask `connections` at every scrape what this part reaches: by name (database, broker)."""
        self._parts[part] = connections

    def key_made(self, ring: str, created_at: datetime | None) -> None:
        """The current key of a ring that this process holds; rings from before keys had a date say nothing."""
        if created_at is not None:
            self.key_created.labels(ring).set(created_at.timestamp())

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)

    def _counter(self, name: str) -> Counter:
        return Counter(name, BY_NAME[name].help, BY_NAME[name].labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        return Gauge(name, BY_NAME[name].help, BY_NAME[name].labels, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        family = BY_NAME[name]
        return Histogram(name, family.help, family.labels, buckets=SECONDS_BUCKETS, registry=self.registry)


class _Connected:
    """Asked at a scrape, so that what it says is true at that moment."""

    def __init__(self, parts: Mapping[str, Connections]) -> None:
        self._parts = parts

    def collect(self) -> list[GaugeMetricFamily]:
        family = BY_NAME["daifu_connected"]
        gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for part, connections in self._parts.items():
            for to, there in connections().items():
                gauge.add_metric((part, to), float(there))
        return [gauge]
