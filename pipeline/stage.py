"""What a stage is to the runner.

A stage is `prepare → call → conclude`. `prepare` claims rows in one transaction and the messages are acked right after it;
`call` alone talks to the outside and holds no transaction; `conclude` records under the fence. A stage without a call is
one transaction: `transact`. Every function that takes a transaction may run again from the start, so it keeps nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from pipeline.store.engine import Transaction
from schemas.dead_letter import DeadLetter

if TYPE_CHECKING:
    from schemas.am_messages import AmMessage  # a type only: most stages read no message of AM

T = TypeVar("T")

MAX_BATCH = 600  # an order costs 4 to 8 % less CPU than in batches of 300 (deploy/docs/performance.md)
CRASH_LOOP_DEATHS = 3  # the third death sends it to the dead letters
MAX_UNEXPECTED = 5  # an exception nobody named is tried again this often, then it is a dead letter


class Executor(Protocol):
    """Runs blocking work: on threads in production, at once in a test of virtual time."""

    def run(self, work: Callable[[], T]) -> Awaitable[T]: ...


@runtime_checkable
class OneTransaction(Protocol):
    """A stage that only writes: credentials, settlement."""

    name: str

    def transact(self, tx: Transaction, keys: Sequence[str]) -> list[datetime]:
        """Take what is due among these work keys and finish it, all in this transaction. Returns when each was made true."""


class Taken(NamedTuple):
    """What intake made of a batch: what it can't read or accept, and all that it could read."""

    letters: list[DeadLetter]
    messages: list[AmMessage]


class Item(Protocol):
    """One claimed piece of work in hand. `withdrawable` is true as long as giving it back costs nothing."""

    @property
    def key(self) -> str: ...

    withdrawable: bool


@runtime_checkable
class Calling(Protocol):
    """A stage that talks to the outside: payment, notification."""

    name: str

    def ready(self) -> bool:
        """False while the stage should claim nothing (breaker open, paying paused)."""

    def prepare(self, tx: Transaction, keys: Sequence[str]) -> list[Any]:
        """Claim what is due among these work keys: the items to call, soonest first."""

    async def call(self, item: Any) -> Any:
        """Talk to the outside. What it returns goes to `conclude`, also when a drain cancels it while it is withdrawable."""

    def conclude(self, tx: Transaction, results: Sequence[Any]) -> None:
        """Record results under their fences, delete their rows, insert the next."""

    def failed(self, tx: Transaction, item: Any, error: str) -> None:
        """An exception nobody named: again later, then a dead letter."""
