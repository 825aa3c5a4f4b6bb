"""What the answer to a callback about no order proves."""

from __future__ import annotations

import pytest

from pipeline.operations_callback_trial import Trial, Verdict, verdict_of
from pipeline.ports import CallbackAnswer, CallFailure


def answered(text: str, *, delivered: bool = False, status: int | None = 200) -> Verdict:
    return verdict_of(CallbackAnswer(delivered, status, text))


@pytest.mark.parametrize("answer", ['{"ret":false,"msg":"no such order"}', '{"ret":"False"}'])
def test_a_test_call_that_is_answered_false_still_proves_the_address(answer: str) -> None:
    assert answered(answer) is Verdict.ANSWERED_FALSE
    assert Trial("", CallbackAnswer(False, 200, answer), answered(answer)).works


@pytest.mark.parametrize("answer", ["", "[]", "not found", '{"ret":null}', "[" * 100_000])
def test_a_test_call_that_is_answered_otherwise_proves_nothing(answer: str) -> None:
    assert answered(answer) is Verdict.NOT_AS_AGREED
    assert not Trial("", CallbackAnswer(False, 200, answer), answered(answer)).works


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_an_error_proves_nothing_whatever_stands_beside_it(status: int) -> None:
    assert answered('{"ret":false}', status=status) is Verdict.NOT_AS_AGREED


def test_a_test_call_that_is_taken_proves_the_address() -> None:
    assert answered('{"ret":true}', delivered=True) is Verdict.TAKEN


def test_where_nobody_answered_our_own_words_are_no_answer() -> None:
    """Whatever they look like."""
    gone = CallbackAnswer(False, None, '{"ret":false}', failure=CallFailure.TIMEOUT)
    assert verdict_of(gone) is Verdict.NOT_REACHED
