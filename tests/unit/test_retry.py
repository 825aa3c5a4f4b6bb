"""Delays: bounded, never shorter than the one before, spread by jitter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.retry import (
    AGAIN_CAP_S,
    JITTER,
    WAKE_CAP_S,
    again_after,
    callback_after,
    jittered,
    question_after,
    wake_after,
)
from pipeline.settings import STANDARD_WEBHOOKS_S

TRIES = st.integers(min_value=1, max_value=10**6)
FIRST = st.floats(min_value=0.001, max_value=1000)


class Exactly:
    """A randomness that always gives the same share between low and high."""

    def __init__(self, share: float) -> None:
        self._share = share

    def random(self) -> float:
        return self._share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self._share


MIDDLE = Exactly(0.5)


@given(delay=FIRST, seed=st.integers())
def test_jitter_stays_within_a_fifth(delay: float, seed: int) -> None:
    assert delay * (1 - JITTER) <= jittered(delay, random.Random(seed)) <= delay * (1 + JITTER)


def test_jitter_spreads_what_failed_together() -> None:
    whim = random.Random(1)
    assert len({jittered(10, whim) for _ in range(100)}) > 90


@given(tries=TRIES, first=FIRST)
def test_the_next_try_never_comes_sooner_than_the_last_and_is_capped(tries: int, first: float) -> None:
    now, then = again_after(tries, first, MIDDLE), again_after(tries + 1, first, MIDDLE)
    assert first <= now * 1.0001
    assert now <= then <= max(AGAIN_CAP_S, first) * 1.0001


def test_tries_double_until_the_cap() -> None:
    delays = [again_after(tries, 5, MIDDLE) for tries in range(1, 9)]
    assert delays == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300])


@given(asked=TRIES, first=FIRST)
def test_questions_slow_down_to_a_hundred_times_the_first(asked: int, first: float) -> None:
    now, then = question_after(asked, first, MIDDLE), question_after(asked + 1, first, MIDDLE)
    assert first * 0.9999 <= now <= then <= first * 100.01


@given(wakes=st.integers(min_value=0, max_value=10**6), patience=FIRST)
def test_the_relay_grows_more_patient_up_to_a_minute(wakes: int, patience: float) -> None:
    now, then = wake_after(wakes, patience), wake_after(wakes + 1, patience)
    assert patience <= now <= then <= max(WAKE_CAP_S, patience)


def test_callbacks_follow_the_schedule_and_then_end() -> None:
    delays = [callback_after(calls, STANDARD_WEBHOOKS_S, MIDDLE) for calls in range(1, len(STANDARD_WEBHOOKS_S) + 1)]
    assert delays == pytest.approx(list(STANDARD_WEBHOOKS_S))
    assert callback_after(len(STANDARD_WEBHOOKS_S) + 1, STANDARD_WEBHOOKS_S, MIDDLE) is None
    assert callback_after(1, (), MIDDLE) is None
