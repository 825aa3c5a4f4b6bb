"""What the relay tells Prometheus about the whole system: read from the database every few seconds."""

from __future__ import annotations

from pipeline.auditor import Auditor
from pipeline.metrics import Metrics
from pipeline.store import control, dead_letters, ledger, orders, wakes
from pipeline.store.clock import now
from pipeline.store.engine import Transaction

COUNTED_PER_ROUND = 20_000  # purchases: reading a million every few seconds would cost more than the relay itself


class Gauges:
    """Those of one relay. Without an `auditor` nothing is said of audits."""

    def __init__(self, metrics: Metrics, auditor: Auditor | None) -> None:
        self._metrics, self._auditor = metrics, auditor
        self._rounds_until_count = 0

    def read(self, tx: Transaction) -> None:
        metrics = self._metrics
        self._count_purchases(tx)
        metrics.in_doubt.set(orders.count_in_doubt(tx))
        metrics.in_flight_fen.set(ledger.in_flight_fen(tx))
        metrics.dead_letters_open.clear()
        for stage, why, count in dead_letters.count_open(tx):
            metrics.dead_letters_open.labels(stage, why).set(count)
        opened = control.open_breakers(tx)
        for upstream in ("railway", "cashier"):
            metrics.breaker_open.labels(upstream).set(int(upstream in opened))
        if self._auditor is not None:
            self._auditor.show(tx)
        oldest = wakes.oldest_due(tx)
        metrics.relay_lag_seconds.set(0 if oldest is None else (now(tx) - oldest).total_seconds())

    def _count_purchases(self, tx: Transaction) -> None:
        """All that there ever were: the more there are, the rarer they are counted anew."""
        if self._rounds_until_count > 0:
            self._rounds_until_count -= 1
            return
        totals: dict[tuple[str, str], int] = {}
        for state, reason, count in orders.count_by(tx):
            totals[state, reason or ""] = totals.get((state, reason or ""), 0) + count
        for (outcome, why), count in totals.items():
            self._metrics.purchases.labels(outcome, why).set(count)
        self._rounds_until_count = sum(totals.values()) // COUNTED_PER_ROUND
