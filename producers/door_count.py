"""What a request at the agents' door is counted as: few names, so that nobody can fill the metrics from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from schemas import tts

GO_PAY: Final = "go_pay"
UNKNOWN: Final = "unknown"
_TYPES: Final = {name: name.lower() for name in (*tts.PURCHASE_FORMS, tts.WAIT_TICKET, tts.APPLY_REFUND)}

Count = Callable[[str, str, float], None]  # type, errCode ("" for `ret` true), seconds


@dataclass(slots=True)
class Visit:
    """One request, as far as it is understood. `type`: `need_pay`, `confirm`, `no_ticket`, `go_pay`, `wait_ticket`,
    `apply_refund`, or `unknown`."""

    type: str = UNKNOWN
    agent: str = ""  # who says to have sent it, once it has the shape of a code

    def asks_for(self, name: str) -> None:
        """By the form's `opt` or `type`, whatever stands there."""
        self.type = _TYPES.get(name.strip(), UNKNOWN)
