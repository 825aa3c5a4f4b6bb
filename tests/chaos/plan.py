"""What a run does: its seed, load and parts, and the second-settings that fit its time."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.parts import SHARES
from tests.chaos.verdict import Late


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `parts` are played in this order for `minutes` in all, by their shares; `quiet_s` between rounds."""

    seed: int
    orders: int
    minutes: float
    parts: tuple[str, ...] = tuple(SHARES)
    hold_s: float = 120.0  # how long holds last
    canary: bool = False
    at_least: float = 0.0  # see Found.at_least
    rounds: int = 1
    quiet_s: float = 0.0
    audit_every_s: float = 0.0  # 0: only at the end

    @property
    def lease_s(self) -> float:
        return min(12.0, self.hold_s / 4)

    @property
    def settings(self) -> dict[str, str]:
        """Second-settings in the proportion of the real ones, ten times and more as short."""
        return {
            "PAY_TIMEOUT_S": f"{self.lease_s / 4:g}",
            "LEASE_S": f"{self.lease_s:g}",
            "PAY_MARGIN_S": f"{self.hold_s / 30:g}",
            "PAY_GRACE_S": f"{self.grace_s:g}",
            "SUBMIT_WITHIN_S": f"{self.hold_s - self.lease_s:g}",  # who looks in time still finds the hold
            "VERIFY_WINDOW_S": f"{self.window_s:g}",
            "ORDER_WAIT_S": f"{self.hold_s / 3:g}",
            "LIST_RETRY_S": "0.5",
            "IN_HAND_RETRY_S": "4",
            "RELAY_PATIENCE_S": "1",
            "DRAIN_S": "8",
            "CALLBACK_SCHEDULE_S": "1,1,2,3,5,8,13,21,34,55,89",
        }

    @property
    def window_s(self) -> float:
        """Of questions: longer than any hold with its grace."""
        return 1.5 * self.hold_s

    @property
    def grace_s(self) -> float:
        return self.hold_s / 15

    @property
    def late(self) -> Late:
        return Late(self.hold_s + self.grace_s, self.window_s)

    @property
    def patience_s(self) -> float:
        """How long after the fire the last order may take: its window, once more for outages, its callbacks."""
        return 2 * self.window_s + 90.0
