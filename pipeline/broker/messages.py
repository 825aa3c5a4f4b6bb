"""The messages that daifu itself publishes, ready to send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Final

from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EVENTS, EXCHANGE, dead_key, wake_key
from pipeline.traces import with_traceparent
from schemas.dead_letter import DeadLetter
from schemas.envelope import CONTENT_TYPE
from schemas.wakeup import MAX_KEYS, wakeup

ALONE: Final[Mapping[str, int]] = {}  # nothing is known of other workers: each stage has one
WORTH_SHARING: Final = 20  # rows; fewer are done by one worker sooner than two have begun


def wake_message(stage: str, *keys: str) -> Outgoing:
    """Wakes someone up for these work keys."""
    return Outgoing(EXCHANGE, wake_key(stage), wakeup(*keys))


def wake_messages(wakes: Mapping[str, str], crew: Mapping[str, int] = ALONE) -> list[Outgoing]:
    """Wake someone up for all these rows (work key -> stage), many with each message: a share for each worker of a stage, by what is
    known of its `crew` (stage -> workers)."""
    by_stage: dict[str, list[str]] = {}
    for key, stage in wakes.items():
        by_stage.setdefault(stage, []).append(key)
    return [
        wake_message(stage, *share) for stage, keys in by_stage.items() for share in _shares(keys, crew.get(stage, 1))
    ]


def _shares(keys: Sequence[str], workers: int) -> Iterator[Sequence[str]]:
    each = min(MAX_KEYS, max(WORTH_SHARING, ceil(len(keys) / workers)))
    return (keys[at : at + each] for at in range(0, len(keys), each))


def dead_letter_message(letter: DeadLetter, traceparent: str | None = None) -> Outgoing:
    """Tells the desk of a dead letter; with the trace it belongs to, where traces are on."""
    return Outgoing(EXCHANGE, dead_key(letter.stage), with_traceparent(letter.to_bytes(), traceparent))


def result_message(kind: str, body: bytes, traceparent: str | None = None) -> Outgoing:
    """A result for AM, as it is stored; with the trace it belongs to, where traces are on."""
    return Outgoing(EVENTS, kind, with_traceparent(body, traceparent), CONTENT_TYPE)
