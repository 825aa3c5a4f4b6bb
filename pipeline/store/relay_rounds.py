"""One look that tells the relay which of its acts have something to do: ten times a second, and nearly always none has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from pipeline.store import attempts, dead_letters, purchases, results, wakes
from pipeline.store.engine import Transaction

_look = select(
    wakes.DUE_TO_WAKE.exists(),
    wakes.TO_REAP.exists(),
    purchases.OVERDUE.exists(),
    attempts.WINDOW_OVER.exists(),
    results.UNSENT.exists(),
    dead_letters.UNSEEN.exists(),
)


@dataclass(frozen=True, slots=True)
class Due:
    """Which acts would find something, in the order of the look's columns."""

    wake_ups: bool
    dead_holders: bool
    overdue: bool
    windows: bool
    results: bool
    dead_letters: bool

    @property
    def ends(self) -> bool:
        """Purchases end in this round: there will be something to tell in it."""
        return self.overdue or self.windows


def due(tx: Transaction, window_us: int) -> Due:
    """`window_us`: how long questions are asked."""
    return Due(*tx.run(_look, {"window_us": window_us, "most": 1}).one())
