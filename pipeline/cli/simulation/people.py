"""People at the worst moment: each act is aimed at a point, and done when a process passes it.

Operators act at the point itself; agents and AM send, and the process waits there until it has arrived. What a guard refuses is
an end too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipeline.acceptance import Conflict
from pipeline.cli.simulation.askers import ASKERS
from pipeline.cli.simulation.customers import Customer
from pipeline.cli.simulation.faults import Aim
from pipeline.cli.simulation.operators import OPERATORS
from pipeline.operations import NotFound, Refused
from pipeline.store import picture
from pipeline.store.engine import Transaction

if TYPE_CHECKING:
    from pipeline.cli.simulation.trial import Trial

ACTS: Final = (*OPERATORS, *ASKERS)
WAIT_S = 0.02  # how long a process waits at its point while what was sent arrives
LIVE_FIRST = 0.8
MEANWHILE = 0.7
LONG_S = 5.0  # who stands still for so long stands still long enough for people


class People:
    """`done` counts how acts ended: `act:result`."""

    def __init__(self, house: Trial, randomness: random.Random, acts: tuple[str, ...], budget: int) -> None:
        self.house, self.random = house, randomness
        self._acts = acts
        self.done: Counter[str] = Counter()
        self._aim = Aim(randomness, budget)

    def at(self, stage: str, point: str) -> float | None:
        """Somebody passes a point: act now, if it is the one. Returns how long the process must wait there."""
        if not self._acts or not self._aim.hit(stage, point):
            return None
        return self._act(self.random.choice(self._acts))

    def meanwhile(self) -> None:
        """A process stands still: now and then somebody acts while it does."""
        if self._acts and self.random.random() < MEANWHILE:
            self._act(self.random.choice(self._acts))

    def _act(self, name: str) -> float | None:
        customer = self._somebody()
        if customer is None:
            return None
        if name in OPERATORS:
            self.operate(name, lambda tx: OPERATORS[name](self, tx, customer))
            return None
        self.house.run(ASKERS[name](self, customer))
        return WAIT_S

    def _somebody(self) -> Customer | None:
        """Most likely one whose purchase is under way."""
        crowd = self.house.crowd.by_no
        live = self.house.read(picture.live_orders)
        numbers = live if live and self.random.random() < LIVE_FIRST else list(crowd)
        return crowd[self.random.choice(numbers)] if numbers else None

    def operate(self, name: str, work: Callable[[Transaction], str]) -> str:
        """One transaction of an operator. Returns how it ended: a guard's code where it was refused."""
        try:
            ended = str(self.house.write(work))
        except Refused as refused:
            ended = refused.code
        except (NotFound, Conflict) as error:
            ended = type(error).__name__
        self.done[f"{name}:{ended}"] += 1
        return ended
