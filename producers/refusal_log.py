"""Who is turned away at a door stands in the log, and a flood of them does not fill it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

log = structlog.get_logger()

EVERY_S: Final = 60.0
MOST: Final = 1_000


@dataclass(slots=True)
class _Told:
    at: float
    since: int = 0


class RefusalLog:
    """The first of a kind at once, then one line a minute that says how many came since. A kind: why, and from which address."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._told: dict[tuple[str, str], _Told] = {}

    def note(self, why: str, address: str, now: float, **more: str) -> None:
        """`now`: monotonic seconds. `more` is said as it was in the one that makes the line."""
        kind = why, address
        told = self._told.pop(kind, None)
        if told is not None and now - told.at < EVERY_S:
            told.since += 1
            self._told[kind] = told
            return
        if len(self._told) >= MOST:
            del self._told[next(iter(self._told))]  # what was refused longest ago
        self._told[kind] = _Told(now)
        before = 0 if told is None else told.since
        log.warning("door_refused", door=self._door, why=why, address=address, unsaid=before, **more)
