"""Replaying dead letters: every guard of DESIGN section 8, at the moment it runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import endings, operations
from pipeline.operations import NotFound
from pipeline.reasons import RULES, Outcome, Reason, Replay
from pipeline.store import accounts, orders
from tests.unit.desk_world import ACCOUNT, ANN, HOLD_NO, PRICE_FEN, Desk, desk_at
from tests.unit.message_samples import DATA, NEED_PAY


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def test_a_replay_opens_the_next_generation_with_what_the_ended_one_had(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    ended = desk.purchase()
    assert desk.replay(letter).result == "replayed"
    opened = desk.purchase()
    assert (opened.generation, opened.state, opened.origin) == (2, "accepted", "replay")
    same = ("agent", "login", "held_order_no", "stated_fen")
    assert [getattr(opened, name) for name in same] == [getattr(ended, name) for name in same]
    assert opened.password_sealed is None
    assert opened.requested_at == desk.clock.moment
    assert opened.stop_at == desk.clock.moment + timedelta(seconds=1200)
    assert desk.letter()["state"] == "replayed"


def test_the_password_of_a_replay_is_looked_up_again(desk: Desk) -> None:
    letter = desk.ended(Reason.NOT_SENT)
    desk.set_password()
    desk.replay(letter)
    desk.run("credentials")
    sealed = desk.purchase().password_sealed
    assert desk.passwords.open(sealed).reveal() == "not a real password"


def test_without_a_stored_password_a_replay_is_refused(desk: Desk) -> None:
    letter = desk.ended(Reason.NOT_SENT)
    assert desk.replay(letter).why.startswith("credential_missing")
    desk.set_password(login=None)
    assert desk.replay(letter).result == "replayed"


def test_a_refused_replay_changes_nothing_but_the_audit_log(desk: Desk) -> None:
    letter = desk.ended(Reason.HOLD_EXPIRED)
    before = desk.order()
    assert desk.replay(letter).result == "refused"
    assert desk.order() == before
    assert desk.letter()["state"] == "open"


@pytest.mark.parametrize("reason", [reason for reason, rule in RULES.items() if rule.replay is Replay.NEVER])
def test_what_the_table_says_is_never_replayed_is_refused(desk: Desk, reason: Reason) -> None:
    if RULES[reason].outcome is Outcome.PAID_ABNORMAL:
        desk.abnormal(reason)
    else:
        desk.ended(reason)
    desk.set_password()
    letter = desk.letter()["id"]
    assert desk.plan(letter).result == "refuse"
    assert desk.replay(letter).result == "refused"
    assert desk.purchase().generation == 1


@pytest.mark.parametrize(
    "reason",
    [Reason.ORDER_MISMATCH, Reason.PRICE_MISMATCH, Reason.FARE_EXCEEDED, Reason.PAY_REFUSED, Reason.CAPTCHA_REQUIRED],
)
def test_what_a_person_looked_at_is_replayed(desk: Desk, reason: Reason) -> None:
    letter = desk.ended(reason)
    desk.set_password()
    assert desk.plan(letter).result == "replay"
    assert desk.replay(letter).result == "replayed"


def test_a_purchase_imported_again_meanwhile_is_not_replayed(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    desk.send("purchase.need_pay", NEED_PAY)
    assert desk.replay(letter).why.startswith("not_open")  # the newer import has superseded it


def test_an_order_closed_meanwhile_is_not_replayed(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    desk.send("purchase.confirmed", DATA["purchase.confirmed"])
    assert desk.replay(letter).why.startswith("closed")


def test_an_order_whose_user_asked_for_a_refund_is_not_replayed(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    desk.send("refund.requested", DATA["refund.requested"])
    assert desk.replay(letter).why.startswith("207")


def test_a_hold_that_expired_is_not_replayed(desk: Desk) -> None:
    desk.ready()
    purchase = desk.purchase()
    deadline = desk.clock.moment + timedelta(minutes=10)
    desk.write(lambda tx: orders.update_purchase(tx, purchase.id, hold_deadline=deadline))
    desk.write(
        lambda tx: endings.end_before_intent(
            tx, purchase, Reason.PRICE_MISMATCH, "", stage="payment", actor="system:payment"
        )
    )
    desk.set_password()
    letter = desk.letter()["id"]
    assert desk.plan(letter).result == "replay"
    desk.later(9 * 60 + 1)  # within the margin of its deadline
    assert desk.replay(letter).why.startswith("hold_expired")


def test_a_replay_stops_before_the_deadline_that_is_known(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    ended = desk.purchase()
    deadline = desk.clock.moment + timedelta(minutes=10)
    desk.write(lambda tx: orders.update_purchase(tx, ended.id, hold_deadline=deadline))
    desk.replay(letter)
    opened = desk.purchase()
    assert (opened.hold_deadline, opened.stop_at) == (deadline, deadline - timedelta(seconds=60))


def test_a_refused_password_must_be_changed_first(desk: Desk) -> None:
    desk.set_password()
    desk.later(1)
    letter = desk.ended(Reason.WRONG_PASSWORD)
    desk.refused_password()
    assert desk.replay(letter).why.startswith("wrong_password")
    desk.later(1)
    desk.set_password()
    assert desk.replay(letter).result == "replayed"


def test_a_refused_unified_password_must_be_changed_first(desk: Desk) -> None:
    desk.set_password(login=None)
    desk.later(1)
    letter = desk.ended(Reason.WRONG_PASSWORD)
    desk.refused_password()
    assert desk.replay(letter).why.startswith("wrong_password")
    desk.later(1)
    desk.set_password(login=None)
    assert desk.replay(letter).result == "replayed"


def test_a_blocked_account_must_be_unblocked_first(desk: Desk) -> None:
    letter = desk.ended(Reason.WRONG_PASSWORD)
    desk.refused_password(times=3)
    desk.later(1)
    desk.set_password()
    assert desk.replay(letter).why.startswith("account_blocked")
    desk.write(lambda tx: operations.unblock(tx, ACCOUNT, ANN))
    assert desk.replay(letter).result == "replayed"


def test_a_locked_account_is_replayed_once_the_lock_is_over(desk: Desk) -> None:
    letter = desk.ended(Reason.ACCOUNT_LOCKED)
    desk.set_password()
    until = desk.clock.moment + timedelta(minutes=20)
    desk.write(lambda tx: accounts.know(tx, ACCOUNT))
    desk.write(lambda tx: accounts.lock(tx, ACCOUNT, until))
    assert desk.replay(letter).why.startswith("account_blocked")
    desk.later(20 * 60 + 1)
    assert desk.replay(letter).result == "replayed"


def test_insufficient_funds_need_a_top_up_first(desk: Desk) -> None:
    letter = desk.ended(Reason.INSUFFICIENT_FUNDS, price_fen=5_000_000)
    desk.set_password()
    assert desk.replay(letter).why.startswith("insufficient_funds")
    desk.top_up(4_000_000)
    assert desk.replay(letter).result == "replayed"


def test_the_plan_and_the_result_say_when_the_agent_was_told(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    assert desk.plan(letter).told_at is None
    desk.told()
    assert desk.plan(letter).told_at == desk.clock.moment
    result = desk.replay(letter, agreed="张三 电话同意")
    assert "2014-11-17T20:31:22" in result.why
    replayed = next(line for line in desk.order()["story"] if line["what"] == "replayed")
    assert (replayed["actor"], replayed["detail"]["agreed"]) == (ANN, "张三 电话同意")


def test_a_replay_that_fails_again_says_so(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    desk.replay(letter)
    desk.run("credentials")
    again = desk.purchase()
    desk.write(
        lambda tx: endings.end_before_intent(
            tx, again, Reason.PRICE_MISMATCH, "", stage="payment", actor="system:payment"
        )
    )
    failed = desk.letter()
    assert (failed["state"], failed["replays"], failed["failed_again"]) == ("open", 1, True)


def test_an_unknown_dead_letter_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.replay(99)


def test_only_a_person_replays(desk: Desk) -> None:
    letter = desk.ended(Reason.NOT_SENT)
    with pytest.raises(ValueError, match="person"):
        desk.write(lambda tx: operations.replay(tx, letter, "system:relay", desk.rules))


def test_the_price_and_the_hold_of_the_sample_are_what_the_letter_shows(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)
    letter = desk.letter()
    assert (letter["amount_fen"], letter["reason"], letter["stage"]) == (PRICE_FEN, "price_mismatch", "payment")
    assert desk.order()["held_order_no"] == HOLD_NO
