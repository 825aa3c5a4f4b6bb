"""The messages that daifu itself publishes, ready to send."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EVENTS, EXCHANGE, dead_key, wake_key
from pipeline.traces import with_traceparent
from schemas.dead_letter import DeadLetter
from schemas.envelope import CONTENT_TYPE
from schemas.wakeup import MAX_KEYS, wakeup


def wake_message(stage: str, *keys: str) -> Outgoing:
    """Wakes someone up for these work keys."""
    return Outgoing(EXCHANGE, wake_key(stage), wakeup(*keys))


def wake_messages(wakes: Mapping[str, str]) -> list[Outgoing]:
    """Wake someone up for all these rows (work key -> stage), many with each message."""
    by_stage: dict[str, list[str]] = {}
    for key, stage in wakes.items():
        by_stage.setdefault(stage, []).append(key)
    return [
        wake_message(stage, *keys[at : at + MAX_KEYS])
        for stage, keys in by_stage.items()
        for at in range(0, len(keys), MAX_KEYS)
    ]


def dead_letter_message(letter: DeadLetter, traceparent: str | None = None) -> Outgoing:
    """Tells the desk of a dead letter; with the trace it belongs to, where traces are on."""
    return Outgoing(EXCHANGE, dead_key(letter.stage), with_traceparent(letter.to_bytes(), traceparent))


def result_message(kind: str, body: bytes, traceparent: str | None = None) -> Outgoing:
    """A result for AM, as it is stored; with the trace it belongs to, where traces are on."""
    return Outgoing(EVENTS, kind, with_traceparent(body, traceparent), CONTENT_TYPE)
