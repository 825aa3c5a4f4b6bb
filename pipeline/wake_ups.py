"""Wake-ups as the work keys they name: one message may name more than a runner takes at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from pipeline.broker.port import Delivery
from pipeline.stage import MAX_BATCH
from schemas.problems import InvalidMessage
from schemas.wakeup import parse_wakeup

log = structlog.get_logger()

REQUESTS_HELD: Final = 2 * MAX_BATCH  # one batch gathers while the other commits
# So many that rows which became due one by one still make a batch. A worker that is full may so name thousands that others could
# take: what nobody has claimed within the relay's patience is woken anew, for them.
WAKE_UPS_HELD: Final = 10


def prefetch_of(stage_name: str) -> int:
    """Messages that a worker of this stage may have unacked: what one holds the others can't take. To intake each is a request,
    to the others it names what one batch made due."""
    return REQUESTS_HELD if stage_name == "intake" else WAKE_UPS_HELD


@dataclass(frozen=True, slots=True)
class Woken:
    """Distinct work keys to take in hand, and the messages that name no others any more: acked once these keys are dealt with."""

    keys: list[str]
    deliveries: list[Delivery]
    redelivered: bool

    def __bool__(self) -> bool:
        return bool(self.keys or self.deliveries)


class WakeUps:
    """What was delivered and is not handed out yet. A message is acked with the last of its keys."""

    def __init__(self, stage_name: str) -> None:
        self._stage_name = stage_name
        self._waiting: deque[tuple[Delivery, Sequence[str]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """One that nobody can read names nothing: its rows wake again."""
        for delivery in deliveries:
            keys: Sequence[str] = ()
            try:
                keys = parse_wakeup(delivery.body)
            except InvalidMessage as error:
                log.error("wakeup_unreadable", stage=self._stage_name, error=str(error))
            self._waiting.append((delivery, keys))

    def next(self, most: int) -> Woken:
        """At most `most` keys, at least 1, in the order in which they came."""
        keys: dict[str, None] = {}
        whole: list[Delivery] = []
        redelivered = False
        while self._waiting and len(keys) < most:
            delivery, named = self._waiting.popleft()
            room = most - len(keys)
            keys.update(dict.fromkeys(named[:room]))
            redelivered = redelivered or delivery.redelivered
            if len(named) > room:
                self._waiting.appendleft((delivery, named[room:]))
            else:
                whole.append(delivery)
        return Woken(list(keys), whole, redelivered)
