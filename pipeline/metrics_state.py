"""Metrics of the whole installation, as the relay last read them: served while they are fresh, gone when they are not.

A figure that nobody could read for a while must not look like one that did not change: then nothing is served, and
`absent()` in the alert rules says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from pipeline.metric_families import END_TO_END_BUCKETS, FAMILIES, Ended, Family, Values

FRESH_S: Final = 60.0  # at least; where reading takes long, as long as three rounds

_BOUNDS: Final = (*(str(float(bound)) for bound in END_TO_END_BUCKETS), "+Inf")

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True, slots=True)
class _Times:
    """A histogram: purchases by bucket, and the sum of their seconds."""

    counts: tuple[int, ...] = (0,) * (len(END_TO_END_BUCKETS) + 1)
    seconds: float = 0.0

    def with_(self, ended: Ended) -> _Times:
        counts = [*self.counts]
        counts[ended.place] += ended.purchases
        return _Times(tuple(counts), self.seconds + ended.seconds)


class StateMetrics:
    """Keeps the last snapshot. `show` is called by the relay; a process that never calls it serves names without values."""

    def __init__(self, registry: CollectorRegistry, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._values: Mapping[str, Values] = {}
        self._queues: Mapping[str, Values] = {}
        self._fresh_until = self._queues_until = float("-inf")
        self._purchases: dict[tuple[str, ...], float] = {}
        self._times: dict[str, _Times] = {}
        registry.register(self)

    def show(self, values: Mapping[str, Values], ended: Sequence[Ended], every_s: float) -> None:
        """What the database says now: value by labels, by metric. `every_s`: when the next reading is to be expected."""
        # A scrape may be reading on another thread: what it reads is replaced, never changed.
        purchases, times = dict(self._purchases), dict(self._times)
        for one in ended:
            key = (one.outcome, one.reason)
            purchases[key] = purchases.get(key, 0) + one.purchases
            times[one.outcome] = times.get(one.outcome, _Times()).with_(one)
        self._purchases, self._times = purchases, times
        self._values = values
        self._fresh_until = self._monotonic() + max(FRESH_S, 3 * every_s)

    def show_queues(self, values: Mapping[str, Values], every_s: float) -> None:
        """What the broker says of its queues."""
        self._queues = values
        self._queues_until = self._monotonic() + max(FRESH_S, 3 * every_s)

    def collect(self) -> Iterator[Metric]:
        moment = self._monotonic()
        fresh = moment < self._fresh_until
        shown = dict(self._values) if fresh else {}
        if moment < self._queues_until:
            shown |= self._queues
        for family in FAMILIES:
            if family.served_by == "relay":
                yield self._metric(family, shown.get(family.name, {}), fresh=fresh)

    def _metric(self, family: Family, values: Values, *, fresh: bool) -> Metric:
        if family.kind == "histogram":
            return self._histogram(family, fresh=fresh)
        if family.kind == "counter":
            counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for labels, value in (self._purchases if fresh else {}).items():
                counter.add_metric(labels, value)
            return counter
        gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in values.items():
            gauge.add_metric(labels, value)
        return gauge

    def _histogram(self, family: Family, *, fresh: bool) -> HistogramMetricFamily:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for outcome, times in (self._times if fresh else {}).items():
            buckets: list[tuple[str, float]] = []
            below = 0
            for bound, count in zip(_BOUNDS, times.counts, strict=True):
                below += count
                buckets.append((bound, below))
            histogram.add_metric((outcome,), buckets, times.seconds)
        return histogram
