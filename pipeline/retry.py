"""When to try again: pure functions of how often it was tried. Delays are seconds."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.ports import Randomness

JITTER = 0.2  # Standard Webhooks and Svix: ±20 %
AGAIN_CAP_S = 300.0
WAKE_CAP_S = 60.0
EXPONENT_CAP = 20  # 2 ** 20 already exceeds every cap; keeps the power small


def jittered(delay_s: float, randomness: Randomness) -> float:
    """`delay_s` ± 20 %."""
    return delay_s * randomness.uniform(1 - JITTER, 1 + JITTER)


def again_after(tries: int, first_s: float, randomness: Randomness) -> float:
    """Before the next try of a step that failed `tries` times (≥ 1): doubles from `first_s` up to five minutes, jittered."""
    return jittered(min(first_s * 2.0 ** min(tries - 1, EXPONENT_CAP), max(AGAIN_CAP_S, first_s)), randomness)


def question_after(asked: int, first_s: float, randomness: Randomness) -> float:
    """Before the next question about a payment in doubt, after `asked` (≥ 1) questions: doubles, at most 100 × the first."""
    return jittered(min(first_s * 2.0 ** min(asked - 1, EXPONENT_CAP), first_s * 100), randomness)


def wake_after(wakes: int, patience_s: float) -> float:
    """How long the relay waits before it publishes an unclaimed row again: doubles from its patience to 60 s at most."""
    return min(patience_s * 2.0 ** min(wakes, EXPONENT_CAP), max(WAKE_CAP_S, patience_s))


def callback_after(calls: int, schedule_s: Sequence[float], randomness: Randomness) -> float | None:
    """Before the next callback after `calls` (≥ 1) failed ones; None when the schedule is used up."""
    if calls > len(schedule_s):
        return None
    return jittered(schedule_s[calls - 1], randomness)
