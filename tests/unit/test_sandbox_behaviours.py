"""Every behaviour of INTERFACES section 7 at the level of the world: what is journalled, what is said, what is true after."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.ports import TradeState
from pipeline.railway.sandbox import behaviours
from pipeline.railway.sandbox.behaviours import BEHAVIOURS, Fault, Says, Way
from tests.unit.sandbox_world import HOLD_NO, Payer, hold_body

# behaviour, how the submit ends, pays, debits, trade after it, listed unpaid, ticket states in the finished list
SUBMITS = [
    ("ok", Way.SUCCESS, 1, 1, TradeState.PAID, False, "aa"),
    ("timeout_paid", Way.SILENCE, 1, 1, TradeState.PAID, False, "aa"),
    ("reset_after_pay", Way.RESET, 1, 1, TradeState.PAID, False, "aa"),
    ("error_paid", Way.ERROR, 1, 1, TradeState.PAID, False, "aa"),
    ("garbage", Way.GARBAGE, 1, 1, TradeState.PAID, False, "aa"),
    ("price_changed", Way.SUCCESS, 1, 1, TradeState.PAID, False, "aa"),
    ("passenger_mismatch", Way.SUCCESS, 1, 1, TradeState.PAID, False, "aa"),
    ("refuse", Way.REFUSED, 1, 0, TradeState.WAITING, True, ""),
    ("timeout_unpaid", Way.SILENCE, 1, 0, TradeState.WAITING, True, ""),
    ("error_unpaid", Way.ERROR, 1, 0, TradeState.WAITING, True, ""),
    ("redirect_307", Way.REDIRECT, 1, 0, TradeState.WAITING, True, ""),
    ("paid_not_issued", Way.SUCCESS, 1, 1, TradeState.PAID, False, ""),
    ("takes_other_amount", Way.SUCCESS, 1, 1, TradeState.PAID, False, "aa"),
    ("paid_then_refunded", Way.SUCCESS, 1, 1, TradeState.REFUNDED, False, "cc"),
    ("agent_pays_after_look", Way.ERROR, 1, 0, TradeState.WAITING, False, "aa"),
]


@pytest.mark.parametrize(("behaviour", "way", "pays", "debits", "trade", "unpaid", "tickets"), SUBMITS)
def test_a_submit_leaves_what_its_row_says(
    behaviour: str, way: Way, pays: int, debits: int, trade: TradeState, *, unpaid: bool, tickets: str
) -> None:
    payer = Payer()
    payer.world.add_hold(hold_body(behaviour))
    trade_no, reply = payer.pay()
    assert reply.way is way
    assert (payer.kinds()["pay"], payer.kinds()["debit"]) == (pays, debits)
    assert payer.world.till.trade(trade_no).state is trade
    assert [order.hold_no for order in payer.unpaid()] == ([HOLD_NO] if unpaid else [])
    listed = payer.finished()
    assert "".join(ticket.status_code for order in listed for ticket in order.tickets) == tickets
    shown = payer.world.hold(HOLD_NO)
    assert shown is not None
    assert (shown["pays"], shown["debits"]) == (pays, debits)


def test_every_behaviour_of_the_interface_is_a_row() -> None:
    assert len(BEHAVIOURS) == 27
    unusual = {
        *("late_pay", "mute_after_pay", "reset_before_read", "busy_then_ok", "session_taken_over"),
        *("unpaid_list_empty_at_first", "wrong_password", "account_locked", "captcha"),
        *("hold_not_found", "hold_expired", "already_paid"),
    }
    assert set(BEHAVIOURS) == {row[0] for row in SUBMITS} | unusual


@pytest.mark.parametrize("behaviour", ["refuse", "timeout_unpaid", "error_unpaid", "redirect_307"])
def test_an_unpaid_trade_closes_and_its_hold_expires_at_the_deadline(behaviour: str) -> None:
    payer = Payer()
    hold = payer.world.add_hold(hold_body(behaviour))
    trade_no, _ = payer.pay()
    payer.clock.at = hold.pay_deadline - timedelta(microseconds=1)
    assert payer.world.till.trade(trade_no).state is TradeState.WAITING
    payer.clock.at = hold.pay_deadline
    assert payer.world.till.trade(trade_no).state is TradeState.CLOSED
    assert payer.unpaid() == payer.finished() == ()
    assert payer.world.hold(HOLD_NO) == {"state": "expired", "pays": 1, "debits": 0}


def test_a_refusal_is_said_in_a_listed_text() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("refuse"))
    assert payer.pay()[1].text == "交易失败：账户余额不足"


def test_a_connection_cut_before_the_form_is_read_leaves_no_pay_line_and_no_trade() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("reset_before_read"))
    payer.log_in()
    form = payer.form()
    with pytest.raises(Fault) as cut:
        payer.world.till.submit(form)
    assert cut.value.way is Way.RESET
    assert payer.kinds()["pay"] == 0
    assert payer.world.till.trade(form["ord_id_ext"]).state is TradeState.NONE
    assert payer.world.hold(HOLD_NO) == {"state": "unpaid", "pays": 0, "debits": 0}


@pytest.mark.parametrize("question", ["trade", "unpaid", "finished"])
def test_a_late_debit_lands_after_the_first_question_was_answered_not_paid(question: str) -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("late_pay"))
    trade_no, reply = payer.pay()
    assert reply.way is Way.PROCESSING
    assert payer.kinds()["debit"] == 0
    if question == "trade":
        assert payer.world.till.trade(trade_no).state is TradeState.WAITING
    elif question == "unpaid":
        assert len(payer.unpaid()) == 1
    else:
        assert payer.finished() == ()
    assert payer.kinds()["debit"] == 1
    assert payer.world.till.trade(trade_no).state is TradeState.PAID
    assert payer.unpaid() == ()
    assert len(payer.finished()) == 1
    assert payer.kinds()["debit"] == 1


def test_a_late_debit_lands_at_the_deadline_when_nobody_asks() -> None:
    payer = Payer()
    hold = payer.world.add_hold(hold_body("late_pay"))
    trade_no, _ = payer.pay()
    payer.clock.at = hold.pay_deadline
    assert payer.world.hold(HOLD_NO) == {"state": "issued", "pays": 1, "debits": 1}
    assert payer.world.till.trade(trade_no).state is TradeState.PAID


def test_after_a_muted_payment_neither_side_answers_about_the_hold() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("mute_after_pay"))
    trade_no, reply = payer.pay()
    assert reply.way is Way.SILENCE
    for _ in range(3):
        with pytest.raises(Fault, match="timeout"):
            payer.world.till.trade(trade_no)
        with pytest.raises(Says, match="网络繁忙"):
            payer.unpaid()
        with pytest.raises(Says, match="网络繁忙"):
            payer.finished()
        with pytest.raises(Says, match="网络繁忙"):
            payer.form()
    assert payer.world.hold(HOLD_NO) == {"state": "issued", "pays": 1, "debits": 1}


def test_the_other_amount_shows_at_the_cashier_and_not_at_12306() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("takes_other_amount"))
    trade_no, _ = payer.pay()
    assert payer.world.till.trade(trade_no).amount_fen == 124200
    assert payer.finished()[0].total_fen == 124100
    assert [line["amount_fen"] for line in payer.world.journal() if line["kind"] == "debit"] == [124200]


def test_a_refund_is_journalled_and_shows_on_both_sides() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("paid_then_refunded"))
    payer.pay()
    assert payer.outcomes("refund") == ["refunded"]
    assert [line["kind"] for line in payer.world.journal()][-4:] == ["pay", "debit", "issue", "refund"]


def test_the_agents_own_payment_is_not_a_trade_of_ours() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("agent_pays_after_look"))
    payer.pay()
    assert payer.outcomes("issue") == ["paid_by_agent"]
    assert payer.world.hold(HOLD_NO) == {"state": "issued", "pays": 1, "debits": 0}


def test_a_changed_price_reads_a_yuan_more_everywhere() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("price_changed"))
    payer.log_in()
    (order,) = payer.unpaid()
    assert order.total_fen == sum(ticket.price_fen for ticket in order.tickets) == 124200
    assert payer.form()["ord_amt"] == "1242.00"


def test_one_passenger_of_a_mismatch_is_somebody_else() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("passenger_mismatch"))
    payer.log_in()
    (order,) = payer.unpaid()
    assert [ticket.passenger_name for ticket in order.tickets] == ["张三", "赵不符"]


@pytest.mark.parametrize(
    ("behaviour", "finished", "words", "state"),
    [
        ("hold_not_found", 0, behaviours.NO_SUCH_ORDER, "expired"),
        ("already_paid", 1, behaviours.ALREADY_PAID, "issued"),
    ],
)
def test_a_hold_that_cannot_be_paid_is_not_in_the_unpaid_list(
    behaviour: str, finished: int, words: str, state: str
) -> None:
    payer = Payer()
    payer.world.add_hold(hold_body(behaviour))
    payer.log_in()
    assert payer.unpaid() == ()
    assert len(payer.finished()) == finished
    with pytest.raises(Says) as said:
        payer.form()
    assert said.value.text == words
    assert payer.world.hold(HOLD_NO) == {"state": state, "pays": 0, "debits": 0}


def test_an_expired_hold_is_listed_for_a_while_with_its_past_deadline() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("hold_expired"))
    payer.log_in()
    (listed,) = payer.unpaid()
    assert listed.pay_deadline is not None
    assert listed.pay_deadline <= payer.clock.at
    assert payer.finished() == ()
    with pytest.raises(Says) as said:
        payer.form()
    assert said.value.text == behaviours.EXPIRED
    assert payer.world.hold(HOLD_NO) == {"state": "expired", "pays": 0, "debits": 0}


def test_a_deadline_that_is_not_in_the_future_is_an_expired_hold() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body(deadline_s=0))
    payer.log_in()
    assert payer.unpaid() == ()
    assert payer.world.hold(HOLD_NO) == {"state": "expired", "pays": 0, "debits": 0}


def test_the_busy_answers_run_out() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("busy_then_ok"))
    payer.log_in()
    for _ in range(3):
        with pytest.raises(Says, match="网络繁忙"):
            payer.unpaid()
    assert len(payer.unpaid()) == 1
    assert payer.world.till.submit(payer.form()).way is Way.SUCCESS


def test_the_unpaid_list_is_empty_twice() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("unpaid_list_empty_at_first"))
    payer.log_in()
    assert [len(payer.unpaid()) for _ in range(4)] == [0, 0, 1, 1]
