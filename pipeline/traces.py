"""What the runners and the relay tell a trace, where traces are on. The port; `pipeline.tracing` makes them by OpenTelemetry.

One trace per purchase: its first span is made when the purchase is first seen, its context is kept in the database (not in a
message, which may be lost or come twice), and each stage adds a span when its work is committed. A replay is a new purchase:
its trace has a link to the one before. Where traces are off (`None`) nothing of this is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.store.engine import Store, Transaction

if TYPE_CHECKING:
    from schemas.am_messages import AmMessage  # a type only: most stages read no message of AM


class Part(NamedTuple):
    """One question or submit within a call. Times in seconds since 1970."""

    upstream: str  # "railway" or "cashier"
    name: str
    began: float
    ended: float
    error: str = ""  # the type of what went wrong


class Worked(NamedTuple):
    """One piece of work that is over and committed. Times in seconds since 1970."""

    purchase_id: str
    step: str
    began: float
    ended: float
    error: str = ""  # the type of an exception that nobody named
    parts: tuple[Part, ...] = ()


class Dead(NamedTuple):
    """A dead letter on its way to its `.dlq`."""

    purchase_id: str
    stage: str
    reason: str


class Begun(Protocol):
    """Spans that are not over: of what a transaction began, to be ended once it is committed."""

    def end(self) -> None: ...


class Traces(Protocol):
    """Every function here blocks for the database, but `accept`, which is part of the transaction that accepts. None raises for
    what the database or the collector does: a trace is never worth a payment."""

    def accept(self, tx: Transaction, messages: Sequence[AmMessage], began: float) -> Begun:
        """Begin the traces of the purchases that these messages of AM opened, each under its message's own `traceparent`."""

    def worked(self, store: Store, stage: str, work: Sequence[Worked]) -> None:
        """A stage has finished these."""

    def dead(self, store: Store, letters: Sequence[Dead]) -> dict[str, str]:
        """These go to the dead letters; the traceparent of each that has one, by purchase."""

    def of(self, store: Store, purchase_ids: Sequence[str]) -> Mapping[str, str]:
        """The traceparent of each purchase that has one, for what leaves towards AM."""

    def forget(self, store: Store) -> None:
        """Contexts of purchases that are long over."""

    def close(self) -> None:
        """Send what is left to the collector."""


def with_traceparent(body: bytes, traceparent: str | None) -> bytes:
    """A JSON object with the CloudEvents distributed tracing extension added."""
    if traceparent is None:
        return body
    return b'{"traceparent":"' + traceparent.encode() + b'",' + body.removeprefix(b"{")


def purchase_of(key: str) -> str:
    """The purchase that a key `order_no:generation:…` belongs to."""
    return ":".join(key.split(":", 2)[:2])
