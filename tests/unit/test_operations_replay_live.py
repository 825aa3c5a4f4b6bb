"""Replaying what did not end: a stage's row put back, a callback sent again, raw input accepted again, a request that waited."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import acceptance, endings, operations
from pipeline.operations import Rules
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import callbacks, dead_letters, orders, recovery, work
from pipeline.store.engine import Transaction
from pipeline.store.work import Step
from tests.unit.desk_world import ANN, FARE_FEN, HOLD_NO, PRICE_FEN, START, Desk, desk_at
from tests.unit.message_samples import NEED_PAY, ORDER, ORDER_NO, body


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


@pytest.mark.parametrize("step", [Step.CREDENTIALS, Step.PAY, Step.SETTLE])
def test_what_a_stage_gave_up_is_put_back(desk: Desk, step: Step) -> None:
    {Step.CREDENTIALS: desk.requested, Step.PAY: desk.ready, Step.SETTLE: desk.paid}[step]()
    letter = desk.gave_up(step)
    key = work.work_key(ORDER_NO, 1, step)
    assert key not in desk.work()
    assert desk.replay(letter).result == "replayed"
    assert key in desk.work()
    assert desk.purchase().generation == 1


def test_a_step_that_waits_already_is_not_put_back_twice(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    stop_at = desk.purchase().stop_at
    desk.write(lambda tx: work.add(tx, ORDER_NO, 1, Step.PAY, urgency=stop_at))
    assert desk.replay(letter).why.startswith("live")


def test_nothing_is_put_back_after_its_time_is_over(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    desk.later(1201)
    assert desk.replay(letter).why.startswith("request_expired")


def test_a_crash_loop_that_ended_unpaid_is_imported_again(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    purchase = desk.purchase()
    desk.write(
        lambda tx: endings.end_before_intent(tx, purchase, Reason.CRASH_LOOP, "", stage="payment", actor="system:relay")
    )
    desk.set_password()
    assert desk.replay(letter).result == "replayed"
    assert desk.purchase().generation == 2


def test_a_submitted_payment_is_never_put_back(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    attempt = desk.open_attempt()
    desk.submit(attempt)
    assert desk.replay(letter).why.startswith("live")
    purchase = desk.purchase()
    desk.write(lambda tx: orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.IN_DOUBT))
    assert desk.replay(letter).result == "refused"


def test_a_callback_that_was_given_up_is_sent_again_with_the_stored_bytes(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)

    def exhaust(tx: Transaction) -> int:
        pending = callbacks.latest_pending(tx, ORDER_NO)
        assert pending is not None
        callbacks.set_bodies(tx, [(pending.id, "stored=bytes")])
        callbacks.exhaust(tx, [pending.id])
        work.remove(tx, [work.work_key(ORDER_NO, 0, Step.TELL)])
        dead_letters.add(
            tx,
            dead_letters.DeadLetterFacts(
                "notification", ORDER_NO, 1, "xcslw", Reason.CALLBACK_EXHAUSTED, "", 9, FARE_FEN, None
            ),
        )
        return int(pending.id)

    desk.write(exhaust)
    letter = desk.letter()["id"]
    assert desk.replay(letter).result == "replayed"
    pending = desk.read(lambda tx: callbacks.latest_pending(tx, ORDER_NO))
    assert pending is not None
    assert (pending.body, pending.calls) == ("stored=bytes", 0)
    assert work.work_key(ORDER_NO, 0, Step.TELL) in desk.work()
    assert desk.replay(letter).result == "refused"


def _raw(desk: Desk, message: bytes) -> int:
    row = {
        "uid": "intake:poison:test", "stage": "intake", "order_no": None, "generation": None, "agent": None,
        "reason": "poison", "detail": "data.agent: no such agent", "attempts": 1, "first_at": desk.clock.moment,
        "last_at": desk.clock.moment, "amount_fen": None, "deadline": None, "state": "open", "replays": 0,
        "body_sealed": desk.services.seal(message), "note": None, "wake_at": None, "wakes": 0,
        "seen_at": desk.clock.moment,
    }  # fmt: skip
    desk.write(lambda tx: dead_letters.add_raw(tx, [row]))
    return int(desk.letter()["id"])


def test_a_raw_message_is_accepted_again_once_what_it_lacked_is_there(desk: Desk) -> None:
    letter = _raw(desk, body("order.paid", ORDER | {"agent": "newcomer"}))
    assert desk.replay(letter).why.startswith("poison: data.agent")
    desk.write(
        lambda tx: operations.add_agent(
            tx, "newcomer", "https://agent.example/x", None, desk.services.public, ANN, allow_http=False
        )
    )
    assert desk.replay(letter).result == "replayed"
    assert desk.order()["agent"] == "newcomer"


def test_a_raw_message_nobody_can_read_is_refused_naming_the_field(desk: Desk) -> None:
    letter = _raw(desk, body("order.paid", ORDER | {"fare_fen": "much"}))
    assert desk.plan(letter).result == "refuse"
    assert "data.fare_fen" in desk.replay(letter).why


def test_a_raw_message_stays_closed_without_the_service_keys(desk: Desk) -> None:
    letter = _raw(desk, body("order.paid"))
    desk.rules = Rules(desk.rules.limits, 60.0, None)
    assert desk.replay(letter).why.startswith("key_missing")


def test_a_request_that_waited_in_vain_is_replayed_once_its_order_is_there(desk: Desk) -> None:
    assert desk.send("purchase.need_pay", NEED_PAY).result == "waiting"
    desk.write(lambda tx: acceptance.give_up_waiting(tx, ORDER_NO))
    letter = desk.letter()["id"]
    assert desk.replay(letter).why.startswith("order_unknown")
    desk.send("order.paid", ORDER)
    assert desk.replay(letter).why.startswith("credential_missing")  # its own password was not kept
    desk.set_password()
    assert desk.replay(letter).result == "replayed"
    purchase = desk.purchase()
    same = (purchase.generation, purchase.origin, purchase.held_order_no, purchase.stated_fen)
    assert same == (1, "replay", HOLD_NO, PRICE_FEN)


def test_a_request_of_another_agent_is_not_replayed(desk: Desk) -> None:
    desk.send("purchase.need_pay", NEED_PAY)
    desk.write(lambda tx: acceptance.give_up_waiting(tx, ORDER_NO))
    desk.write(
        lambda tx: operations.add_agent(
            tx, "other", "https://agent.example/x", None, desk.services.public, ANN, allow_http=False
        )
    )
    desk.send("order.paid", ORDER | {"agent": "other"})
    assert desk.replay(desk.letter()["id"]).why.startswith("order_unknown")


def test_only_orders_from_before_a_restore_may_have_been_paid_and_forgotten(desk: Desk) -> None:
    desk.requested()
    assert not desk.read(lambda tx: recovery.may_be_lost(tx, ORDER_NO))
    desk.write(lambda tx: recovery.mark_restored(tx, START - timedelta(hours=1)))
    assert not desk.read(lambda tx: recovery.may_be_lost(tx, ORDER_NO))
    desk.write(lambda tx: recovery.mark_restored(tx, START + timedelta(hours=1)))
    assert desk.read(lambda tx: recovery.may_be_lost(tx, ORDER_NO))
