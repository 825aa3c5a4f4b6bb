"""The acts of a run under fire: what they type must not be a fault of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.faults import Fire
from tests.chaos.stack import UNREACHABLE
from tests.integration.pipeline_process import Ran


def a_fire(*answers: Ran | None) -> tuple[Fire, list[str], SimpleNamespace]:
    """A fire that always chooses to pause the payment stage, what it types, and the stack it is laid at."""
    left, typed = list(answers), []

    def command(*words: str, within_s: float) -> Ran | None:
        typed.append(words[0])
        return left.pop(0)

    stack = SimpleNamespace(command=command, troubles=[])
    fire = Fire(stack, 1, 5.0, lambda _text: None)  # type: ignore[arg-type] # as much of a stack as a pause needs
    fire.chance = SimpleNamespace(choice=lambda options: options[0])  # type: ignore[assignment] # always the first
    return fire, typed, stack


def pause_and_resume(fire: Fire) -> None:
    fire._pause(0.0)
    for _at, _count, act in fire._later:
        act()


@pytest.mark.parametrize("unheard", [None, Ran(UNREACHABLE, "", "")], ids=["cut short", "database away"])
def test_what_could_not_be_resumed_is_not_paused_once_more(unheard: Any) -> None:
    fire, typed, stack = a_fire(Ran(0, "", ""), unheard)
    pause_and_resume(fire)
    fire._pause(0.0)
    assert typed == ["pause", "resume"]
    assert stack.troubles == []


def test_a_pause_whose_answer_was_lost_is_resumed_too() -> None:
    fire, typed, stack = a_fire(Ran(UNREACHABLE, "", ""), Ran(0, "", ""))
    pause_and_resume(fire)
    assert (typed, stack.troubles) == (["pause", "resume"], [])


def test_a_pause_that_is_refused_is_a_finding() -> None:
    fire, _typed, stack = a_fire(Ran(4, "", "no such stage"))
    fire._pause(0.0)
    assert len(stack.troubles) == 1
