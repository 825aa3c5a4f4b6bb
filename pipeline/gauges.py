"""The relay's reading of what all processes together look like, for its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog

from pipeline.broker.port import BrokerUnavailable, Outbox
from pipeline.metric_families import Values
from pipeline.metrics import Metrics
from pipeline.stage import Executor
from pipeline.store.engine import Store
from pipeline.store.queries_metrics import read_ended, read_state

log = structlog.get_logger()

EVERY_S: Final = 5.0
SHARE: Final = 0.05  # of the time at most: a backlog that takes long to count is counted more rarely


class QueueDepth(Protocol):
    """One queue as the broker sees it."""

    @property
    def queue(self) -> str: ...

    @property
    def messages(self) -> int: ...

    @property
    def consumers(self) -> int: ...


class QueueWatch(Protocol):
    """Asks the broker; blocking. Raises BrokerUnavailable."""

    def read(self) -> Sequence[QueueDepth]: ...


class Gauges:
    """Reads the database, and the broker where there is one to ask. `read` is an act of the relay, cheap while nothing is due."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        metrics: Metrics,
        outbox: Outbox,
        queues: QueueWatch | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        """While `outbox` is not connected the broker is not asked either: waiting for it would hold up the relay."""
        self._store, self._executor, self._metrics = store, executor, metrics
        self._outbox, self._queues, self._every_s = outbox, queues, every_s
        self._next_at = float("-inf")
        self._ended_until: datetime | None = None

    async def read(self) -> None:
        """Raises StoreUnavailable."""
        if self._store.clock.monotonic() >= self._next_at:
            await self._executor.run(self._read)

    def _read(self) -> None:
        clock = self._store.clock
        began = clock.monotonic()
        values = self._store.read(read_state)
        ended, self._ended_until = self._store.read(lambda tx: read_ended(tx, self._ended_until))
        every_s = max(self._every_s, (clock.monotonic() - began) / SHARE)
        self._next_at = began + every_s
        self._metrics.state.show(values, ended, every_s)
        self._read_queues(every_s)

    def _read_queues(self, every_s: float) -> None:
        if self._queues is None or not self._outbox.connected:
            return
        try:
            depths = self._queues.read()
        except BrokerUnavailable as error:
            log.warning("queues_not_read", error=str(error))
            return
        values: dict[str, Values] = {
            "daifu_queue_messages": {(one.queue,): one.messages for one in depths},
            "daifu_queue_consumers": {(one.queue,): one.consumers for one in depths},
        }
        self._metrics.state.show_queues(values, every_s)
