"""Closing a 支付完成,出票异常: the last lines of DESIGN section 6, and the second pair of eyes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import operations
from pipeline.operations import Closed, Fate, NotFound, Refused
from pipeline.reasons import Reason
from pipeline.store import callbacks, tasks
from pipeline.store.audit import audit
from pipeline.store.queries import funds_of
from tests.unit.desk_world import AGENT, ANN, BOB, FARE_FEN, PRICE_FEN, Desk, desk_at
from tests.unit.message_samples import DATA, NEED_PAY, ORDER_NO

FUND = 1_000_000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk
        report = desk.read(audit)
        assert report.ok, report.broken


def close(desk: Desk, how: Fate, debited_fen: int | None = None, **more: Any) -> Closed:
    settings: dict[str, Any] = {"actor": ANN, "evidence": "账单第3行", "four_eyes_fen": 500_000} | more
    return desk.write(lambda tx: operations.close_abnormal(tx, ORDER_NO, how, debited_fen, **settings))


def funds(desk: Desk) -> tuple[int, int, int, int, int]:
    row = desk.read(lambda tx: funds_of(tx, AGENT))
    names = ("frozen_fen", "procurement_fen", "in_flight_fen", "available_fen", "refund_fen")
    frozen, procurement, in_flight, available, refund = (row[name] for name in names)
    return frozen, procurement, in_flight, available, refund


def test_ticketed_settles_what_was_debited_and_tells_the_agent_1(desk: Desk) -> None:
    desk.abnormal()
    assert funds(desk) == (FARE_FEN, FUND - PRICE_FEN, PRICE_FEN, 0, 0)
    assert close(desk, Fate.TICKETED, PRICE_FEN).done
    pending = desk.read(lambda tx: callbacks.latest_pending(tx, ORDER_NO))
    assert pending is not None
    assert pending.pay_status == "1"
    desk.run("settlement")
    order = desk.order()
    assert (order["state"], order["outcome"], order["paid_fen"]) == ("settled", "purchased", PRICE_FEN)
    assert (order["unfrozen_fen"], order["partial_refund_fen"]) == (PRICE_FEN, FARE_FEN - PRICE_FEN)
    assert order["attempts"][0]["proof"] == "person"
    assert funds(desk) == (0, FUND - PRICE_FEN, 0, PRICE_FEN, 0)


@pytest.mark.parametrize("debited_fen", [PRICE_FEN - 500, PRICE_FEN + 500])
def test_another_amount_than_held_is_squared_with_the_fund(desk: Desk, debited_fen: int) -> None:
    desk.abnormal(Reason.AMOUNT_DIFFERS)
    close(desk, Fate.TICKETED, debited_fen)
    desk.run("settlement")
    assert funds(desk) == (0, FUND - debited_fen, 0, debited_fen, 0)


def test_a_debit_above_hold_and_fund_waits_for_a_top_up(desk: Desk) -> None:
    desk.abnormal(Reason.AMOUNT_DIFFERS)
    with pytest.raises(Refused, match="insufficient_funds"):
        close(desk, Fate.TICKETED, FUND + 1, four_eyes_fen=10_000_000)


def test_refunded_gives_the_user_all_back_and_the_agent_what_12306_returned(desk: Desk) -> None:
    desk.abnormal(Reason.NOT_ISSUED)
    assert close(desk, Fate.REFUNDED, PRICE_FEN).done
    order = desk.order()
    assert (order["state"], order["order_state"], order["refund_fen"]) == ("refunded", "refunded", PRICE_FEN)
    assert [line["kind"] for line in order["postings"]] == ["freeze", "hold", "post", "railway_refund", "full_refund"]
    assert funds(desk) == (0, FUND - PRICE_FEN, 0, 0, PRICE_FEN)


def test_a_refund_that_am_told_of_before_is_not_booked_twice(desk: Desk) -> None:
    desk.abnormal(Reason.NOT_ISSUED)
    desk.send("refund.arrived", DATA["refund.arrived"])
    close(desk, Fate.REFUNDED, PRICE_FEN)
    assert funds(desk)[4] == PRICE_FEN
    desk.send("refund.arrived", DATA["refund.arrived"] | {"refund_id": "r-2"})
    assert funds(desk)[4] == PRICE_FEN


def test_never_debited_gives_the_hold_back_and_keeps_the_order_open(desk: Desk) -> None:
    desk.abnormal()
    assert close(desk, Fate.NEVER_DEBITED).done
    order = desk.order()
    assert (order["state"], order["outcome"], order["order_state"]) == (
        "never_debited",
        "held_unpaid",
        "purchase_failed",
    )
    assert funds(desk) == (FARE_FEN, FUND, 0, 0, 0)
    answer = desk.send("purchase.need_pay", NEED_PAY)
    assert (answer.result, answer.err_code) == ("refused", "205")


def test_a_refund_that_waited_for_a_post_is_a_task_when_nothing_was_debited(desk: Desk) -> None:
    desk.abnormal()
    desk.send("refund.arrived", DATA["refund.arrived"])
    assert [task.kind for task in desk.read(tasks.find)] == ["close_abnormal"]
    close(desk, Fate.NEVER_DEBITED)
    assert [task.kind for task in desk.read(tasks.find)] == ["railway_refund"]
    assert funds(desk) == (FARE_FEN, FUND, 0, 0, 0)


def test_a_confirm_that_waited_is_applied_when_nothing_was_debited(desk: Desk) -> None:
    desk.abnormal()
    assert desk.send("purchase.confirmed", DATA["purchase.confirmed"]).result == "done"
    close(desk, Fate.NEVER_DEBITED)
    assert desk.order()["order_state"] == "ticketed_offline"


def test_what_was_never_submitted_here_closes_as_never_debited_without_moving_money(desk: Desk) -> None:
    desk.found_paid()
    with pytest.raises(Refused, match="bad_amount"):
        close(desk, Fate.NEVER_DEBITED, PRICE_FEN)
    assert close(desk, Fate.NEVER_DEBITED).done
    assert funds(desk) == (FARE_FEN, FUND, 0, 0, 0)


def test_a_payment_without_a_hold_is_booked_from_the_fund_and_settles(desk: Desk) -> None:
    desk.found_paid()
    assert close(desk, Fate.TICKETED, PRICE_FEN).done
    assert funds(desk) == (FARE_FEN, FUND - PRICE_FEN, 0, 0, 0)
    desk.run("settlement")
    order = desk.order()
    assert (order["state"], order["paid_fen"], order["unfrozen_fen"]) == ("settled", PRICE_FEN, PRICE_FEN)
    assert list(dict.fromkeys(line["kind"] for line in order["postings"])) == ["freeze", "found_payment", "unfreeze"]
    assert order["attempts"][0]["submitted_at"] is None, "a person's word is no intent"
    assert funds(desk) == (0, FUND - PRICE_FEN, 0, PRICE_FEN, 0)


def test_a_payment_without_a_hold_that_came_back_is_booked_both_ways(desk: Desk) -> None:
    desk.found_paid()
    assert close(desk, Fate.REFUNDED, PRICE_FEN).done
    assert funds(desk) == (0, FUND - PRICE_FEN, 0, 0, PRICE_FEN)
    assert [line["kind"] for line in desk.order()["postings"]] == [
        "freeze",
        "found_payment",
        "railway_refund",
        "full_refund",
    ]


def test_a_refund_that_came_before_a_payment_was_found_is_booked_with_it(desk: Desk) -> None:
    desk.found_paid()
    desk.send("refund.arrived", DATA["refund.arrived"])
    back_fen = DATA["refund.arrived"]["amount_fen"]
    close(desk, Fate.TICKETED, PRICE_FEN)
    desk.run("settlement")
    assert funds(desk) == (0, FUND - PRICE_FEN, 0, PRICE_FEN, back_fen)


def test_a_payment_without_a_hold_is_not_booked_below_an_empty_fund(desk: Desk) -> None:
    desk.found_paid()
    with pytest.raises(Refused, match="insufficient_funds"):
        close(desk, Fate.TICKETED, FUND + 1, four_eyes_fen=10**9)
    assert desk.order()["state"] == "paid_abnormal"


def test_above_the_limit_a_second_person_confirms_the_same(desk: Desk) -> None:
    desk.abnormal()
    first = close(desk, Fate.TICKETED, PRICE_FEN, four_eyes_fen=100_000)
    assert (first.done, first.proposed_by) == (False, ANN)
    assert desk.order()["state"] == "paid_abnormal"
    with pytest.raises(Refused, match="second_person"):
        close(desk, Fate.TICKETED, PRICE_FEN, four_eyes_fen=100_000)
    second = close(desk, Fate.TICKETED, PRICE_FEN, four_eyes_fen=100_000, actor=BOB)
    assert (second.done, second.proposed_by) == (True, ANN)


def test_another_amount_by_the_second_person_is_a_new_proposal(desk: Desk) -> None:
    desk.abnormal()
    close(desk, Fate.TICKETED, PRICE_FEN, four_eyes_fen=100_000)
    assert not close(desk, Fate.TICKETED, PRICE_FEN - 1, four_eyes_fen=100_000, actor=BOB).done
    assert not close(desk, Fate.TICKETED, PRICE_FEN, four_eyes_fen=100_000, actor=ANN).done
    assert desk.order()["state"] == "paid_abnormal"


def test_closing_settles_the_task_and_the_dead_letter(desk: Desk) -> None:
    desk.abnormal()
    close(desk, Fate.NEVER_DEBITED)
    assert desk.letter()["state"] == "superseded"
    task = desk.read(lambda tx: tasks.find(tx, open_only=False))[0]
    assert (task.closed_by, task.resolution, task.evidence) == (ANN, "never_debited", "账单第3行")


def test_it_is_closed_once(desk: Desk) -> None:
    desk.abnormal()
    close(desk, Fate.NEVER_DEBITED)
    with pytest.raises(Refused, match="not_paid_abnormal"):
        close(desk, Fate.TICKETED, PRICE_FEN)


def test_it_needs_evidence_an_order_and_a_person(desk: Desk) -> None:
    desk.abnormal()
    with pytest.raises(Refused, match="evidence"):
        close(desk, Fate.NEVER_DEBITED, evidence=" ")
    with pytest.raises(Refused, match="bad_amount"):
        close(desk, Fate.TICKETED)
    with pytest.raises(ValueError, match="person"):
        close(desk, Fate.NEVER_DEBITED, actor="system:relay")
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.close_abnormal(tx, "unknown", Fate.TICKETED, 1, "x", ANN, four_eyes_fen=1))
