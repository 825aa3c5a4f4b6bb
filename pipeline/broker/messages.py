"""The messages that daifu itself publishes, ready to send."""

from __future__ import annotations

from pipeline.broker.port import Outgoing
from pipeline.broker.topology import EVENTS, EXCHANGE, dead_key, wake_key
from schemas.dead_letter import DeadLetter
from schemas.envelope import CONTENT_TYPE
from schemas.wakeup import wakeup


def wake_message(stage: str, key: str) -> Outgoing:
    """Wakes someone up for this work key."""
    return Outgoing(EXCHANGE, wake_key(stage), wakeup(key))


def dead_letter_message(letter: DeadLetter) -> Outgoing:
    """Tells the desk of a dead letter."""
    return Outgoing(EXCHANGE, dead_key(letter.stage), letter.to_bytes())


def result_message(kind: str, body: bytes) -> Outgoing:
    """A result for AM, as it is stored."""
    return Outgoing(EVENTS, kind, body, CONTENT_TYPE)
