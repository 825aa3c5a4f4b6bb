"""`daifu callbacks test`: what the answer to a call about no order proves."""

from __future__ import annotations

import pytest

from pipeline.cli.callbacks import meaning


@pytest.mark.parametrize("answer", ['{"ret":false,"msg":"no such order"}', '{"ret":"False"}'])
def test_a_test_call_that_is_answered_false_still_proves_the_address(answer: str) -> None:
    assert meaning(answer, delivered=False).startswith("the address works")


@pytest.mark.parametrize("answer", ["", "[]", "no answer (TimeoutError)", '{"ret":null}', "[" * 100_000])
def test_a_test_call_that_is_answered_otherwise_proves_nothing(answer: str) -> None:
    assert "did not answer as agreed" in meaning(answer, delivered=False)


def test_a_test_call_that_is_taken_proves_the_address() -> None:
    assert meaning('{"ret":true}', delivered=True) == "the address works"
