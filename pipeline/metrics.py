"""Prometheus metrics of one process (names: INTERFACES section 6). Gauges read from the database are set by the relay."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """Each process has its own registry, so that several can live in one test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.purchases = Gauge(
            "daifu_purchases_total", "Purchases by outcome and reason", ["outcome", "reason"], registry=self.registry
        )
        self.in_flight_fen = Gauge("daifu_in_flight_fen", "Money whose fate is open, in fen", registry=self.registry)
        self.funds_missing_fen = Gauge(
            "daifu_funds_missing_fen",
            "What procurement funds lack for the purchases that wait to be paid from them, in fen",
            registry=self.registry,
        )
        self.in_doubt = Gauge("daifu_in_doubt", "Purchases submitted with unknown outcome", registry=self.registry)
        self.dead_letters_open = Gauge(
            "daifu_dead_letters_open", "Open dead letters", ["stage", "reason"], registry=self.registry
        )
        self.breaker_open = Gauge(
            "daifu_breaker_open", "1 while the breaker is open", ["upstream"], registry=self.registry
        )
        self.relay_lag_seconds = Gauge(
            "daifu_relay_lag_seconds", "How long the oldest due, unclaimed row has been due", registry=self.registry
        )
        self.audit_broken = Gauge(
            "daifu_audit_broken", "Breaches found by the last audit", ["invariant"], registry=self.registry
        )
        self.audit_last_run = Gauge(
            "daifu_audit_last_run_timestamp_seconds", "When the last audit began", registry=self.registry
        )
        self.critical_time = Histogram(
            "daifu_critical_time_seconds",
            "From the moment a step was made true to its end",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.call_time = Histogram(
            "daifu_call_seconds", "Time of one call", ["stage"], buckets=SECONDS_BUCKETS, registry=self.registry
        )
        self.door_requests = Counter(
            "daifu_door_requests_total",
            "Requests that the agents' door answered; no err_code: ret true",
            ["type", "err_code"],
            registry=self.registry,
        )
        self.door_time = Histogram(
            "daifu_door_seconds",
            "From a request's head to its answer at the agents' door",
            ["type"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.messages = Counter("daifu_messages_total", "Messages taken", ["stage"], registry=self.registry)

    def finished(self, stage: str, created_at: datetime, now: datetime) -> None:
        self.critical_time.labels(stage).observe(max(0.0, (now - created_at).total_seconds()))

    def called(self, stage: str, seconds: float) -> None:
        self.call_time.labels(stage).observe(seconds)

    def answered(self, kind: str, err_code: str, seconds: float) -> None:
        """One request of an agent's program. `err_code` as it was told, empty for `ret` true."""
        self.door_requests.labels(kind, err_code).inc()
        self.door_time.labels(kind).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
