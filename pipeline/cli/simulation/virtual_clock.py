"""The clock port on the running loop's time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from pipeline.cli.simulation.incarnation import Incarnation
from pipeline.ports import Clock

START = datetime(2026, 11, 17, 12, 31, 22, tzinfo=UTC)  # 20:31:22 in China


class VirtualClock:
    """Wall clock and monotonic clock of the loop it is made on; its first moment is `START`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()


class LifeClock:
    """The clock of one process's machine, which NTP may have lost."""

    def __init__(self, true: Clock, life: Incarnation) -> None:
        self._true, self._life = true, life

    def now(self) -> datetime:
        return self._true.now() + timedelta(seconds=self._life.clock_ahead_s)

    def monotonic(self) -> float:
        return self._true.monotonic()
