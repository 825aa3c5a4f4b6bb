"""A token bucket per agent, in memory: one agent's loop must not take the door away from the others."""

from __future__ import annotations

from pipeline.ports import Clock


class RateLimit:
    """`rate` requests per second and agent, and as many at once. Asked for agents that exist only, so it stays small.

    Each process counts for itself: it guards a process, and n processes of the door let an agent have n times as many.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._most = max(rate, 1.0)  # a rate below one still lets one in
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def allows(self, agent: str) -> bool:
        """Take one; False where none is left."""
        now = self._clock.monotonic()
        left, then = self._buckets.get(agent, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        allowed = left >= 1.0
        self._buckets[agent] = (left - 1.0 if allowed else left, now)
        return allowed
