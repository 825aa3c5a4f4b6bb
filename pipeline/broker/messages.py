"""The messages that daifu itself publishes, ready to send."""

from __future__ import annotations

from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EVENTS, EXCHANGE, dead_key, wake_key
from pipeline.traces import with_traceparent
from schemas.dead_letter import DeadLetter
from schemas.envelope import CONTENT_TYPE
from schemas.wakeup import wakeup


def wake_message(stage: str, key: str) -> Outgoing:
    """Wakes someone up for this work key."""
    return Outgoing(EXCHANGE, wake_key(stage), wakeup(key))


def dead_letter_message(letter: DeadLetter, traceparent: str | None = None) -> Outgoing:
    """Tells the desk of a dead letter; with the trace it belongs to, where traces are on."""
    return Outgoing(EXCHANGE, dead_key(letter.stage), with_traceparent(letter.to_bytes(), traceparent))


def result_message(kind: str, body: bytes, traceparent: str | None = None) -> Outgoing:
    """A result for AM, as it is stored; with the trace it belongs to, where traces are on."""
    return Outgoing(EVENTS, kind, with_traceparent(body, traceparent), CONTENT_TYPE)
