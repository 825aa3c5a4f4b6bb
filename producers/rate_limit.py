"""A token bucket per agent, and per address, in memory: one caller's loop must not take the door away from the others."""

from __future__ import annotations

from typing import Final

from pipeline.ports import Clock

MOST_KEPT: Final = 10_000  # who asked longest ago is forgotten first, and has all its requests again


class RateLimit:
    """`rate` requests per second and caller, and as many at once.

    Each process counts for itself: it guards a process, and n processes of the door let a caller have n times as many.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._most = max(rate, 1.0)  # a rate below one still lets one in
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def allows(self, caller: str) -> bool:
        """Take one; False where none is left."""
        now = self._clock.monotonic()
        left, then = self._buckets.pop(caller, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        allowed = left >= 1.0
        self._buckets[caller] = (left - 1.0 if allowed else left, now)  # last: the first is who asked longest ago
        if len(self._buckets) > MOST_KEPT:
            del self._buckets[next(iter(self._buckets))]
        return allowed
