"""Reason codes: the table of DESIGN section 5, and a word for each."""

from __future__ import annotations

import pytest

from pipeline.reasons import OUTCOME_WORDS, PAY_STATUS, RULES, Outcome, Reason, Replay

U, A = Outcome.HELD_UNPAID, Outcome.PAID_ABNORMAL

TABLE = [
    ("credential_missing wrong_password account_locked captcha_required", U, Replay.AFTER_ACCOUNT),
    ("hold_not_found hold_expired request_expired unpaid_after_deadline", U, Replay.NEVER),
    ("already_paid held_order_conflict withdrawn", U, Replay.NEVER),
    ("order_mismatch price_mismatch fare_exceeded pay_refused order_unknown", U, Replay.AFTER_LOOK),
    ("insufficient_funds", U, Replay.AFTER_TOP_UP),
    ("not_sent", U, Replay.AT_ONCE),
    ("not_issued outcome_unknown amount_differs paid_elsewhere", A, Replay.NEVER),
    ("poison crash_loop callback_exhausted unexpected_error", None, Replay.AS_IT_STANDS),
]


@pytest.mark.parametrize(("codes", "outcome", "replay"), TABLE)
def test_each_reason_has_its_outcome_and_its_replay(codes: str, outcome: Outcome | None, replay: Replay) -> None:
    for code in codes.split():
        assert (RULES[Reason(code)].outcome, RULES[Reason(code)].replay) == (outcome, replay)


def test_the_table_names_every_reason_once() -> None:
    named = [code for codes, _, _ in TABLE for code in codes.split()]
    assert sorted(named) == sorted(reason.value for reason in Reason)
    assert set(RULES) == set(Reason)


def test_every_reason_has_words_of_its_own() -> None:
    words = [rule.words for rule in RULES.values()]
    assert all(words)
    assert len(set(words)) == len(words)


def test_what_may_have_moved_money_is_never_replayed() -> None:
    assert {rule.replay for rule in RULES.values() if rule.outcome is A} == {Replay.NEVER}


def test_the_agent_is_told_1_2_or_3() -> None:
    assert PAY_STATUS == {Outcome.PURCHASED: "1", U: "2", A: "3"}
    assert set(OUTCOME_WORDS) == set(Outcome)
