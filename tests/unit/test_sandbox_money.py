"""The oracle itself: a form counts each time it arrives, whatever state anything is in."""

from __future__ import annotations

import pytest

from pipeline.ports import TradeState
from pipeline.railway.sandbox.behaviours import Fault, Says, Way
from tests.unit.sandbox_world import HOLD_NO, PASSWORD, Payer, hold_body


def test_a_form_sent_twice_is_two_pays_and_two_debits() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    form = payer.form()
    payer.world.till.submit(form)
    payer.world.till.submit(form)
    assert payer.world.hold(HOLD_NO) == {"state": "issued", "pays": 2, "debits": 2}


def test_two_forms_of_one_hold_can_both_be_paid() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    first, second = payer.form(), payer.form()
    assert first["ord_id_ext"] != second["ord_id_ext"]
    payer.world.till.submit(first)
    payer.world.till.submit(second)
    assert payer.world.hold(HOLD_NO) == {"state": "issued", "pays": 2, "debits": 2}
    assert payer.outcomes("debit") == ["taken", "taken"]


def test_two_late_forms_are_both_debited() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("late_pay"))
    payer.log_in()
    first, second = payer.form(), payer.form()
    payer.world.till.submit(first)
    payer.world.till.submit(second)
    payer.unpaid()
    assert payer.world.hold(HOLD_NO) == {"state": "issued", "pays": 2, "debits": 2}


def test_a_form_after_its_own_deadline_is_journalled_and_refused() -> None:
    payer = Payer()
    hold = payer.world.add_hold(hold_body())
    payer.log_in()
    form = payer.form()
    payer.clock.at = hold.pay_deadline
    reply = payer.world.till.submit(form)
    assert (reply.way, reply.text) == (Way.REFUSED, "交易失败：该订单不允许支付")
    assert payer.world.till.trade(form["ord_id_ext"]).state is TradeState.CLOSED
    assert payer.world.hold(HOLD_NO) == {"state": "expired", "pays": 1, "debits": 0}


def test_a_late_form_of_a_late_payer_is_never_debited() -> None:
    payer = Payer()
    hold = payer.world.add_hold(hold_body("late_pay"))
    payer.log_in()
    form = payer.form()
    payer.clock.at = hold.pay_deadline
    payer.world.till.submit(form)
    payer.unpaid()
    assert payer.world.hold(HOLD_NO) == {"state": "expired", "pays": 1, "debits": 0}


def test_a_form_nobody_gave_out_and_a_changed_amount_are_pay_lines_without_a_debit() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    form = payer.form()
    assert payer.world.till.submit({**form, "ord_amt": "0.01"}).way is Way.REFUSED
    assert payer.world.till.submit({**form, "ord_id_ext": "3E99999999900000001"}).way is Way.REFUSED
    assert payer.outcomes("pay") == ["unknown_form", "unknown_form"]
    assert payer.kinds()["debit"] == 0


@pytest.mark.parametrize("mode", ["timeout", "503", "maintenance"])
def test_a_form_that_reaches_a_cashier_in_an_outage_is_a_pay_line_without_a_debit(mode: str) -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    form = payer.form()
    payer.world.set_outage({"cashier": True, "mode": mode, "for_s": 60})
    with pytest.raises(Fault) as down:
        payer.world.till.submit(form)
    assert down.value.way == mode
    assert payer.outcomes("pay") == ["outage"]
    payer.clock.advance(60)
    assert payer.world.till.trade(form["ord_id_ext"]).state is TradeState.NONE
    assert payer.world.hold(HOLD_NO) == {"state": "unpaid", "pays": 1, "debits": 0}


def test_a_refused_connection_reads_no_form() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    form = payer.form()
    payer.world.set_outage({"cashier": True, "mode": "refuse", "for_s": 60})
    with pytest.raises(Fault, match="refuse"):
        payer.world.till.submit(form)
    assert payer.kinds()["pay"] == 0


def test_the_cashier_does_not_know_a_form_that_was_only_given_out() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    assert payer.world.till.trade(payer.form()["ord_id_ext"]).state is TradeState.NONE
    assert payer.world.till.trade("0").state is TradeState.NONE


def test_a_paid_hold_hands_out_no_form() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.pay()
    with pytest.raises(Says, match="已完成支付"):
        payer.form()


def test_a_form_is_asked_again_for_the_hold_between_choosing_and_walking_on() -> None:
    payer = Payer()
    hold = payer.world.add_hold(hold_body())
    payer.log_in()
    payer.world.ticketing.choose(payer.sid, HOLD_NO)
    payer.clock.at = hold.pay_deadline
    with pytest.raises(Says, match="订单已超过支付时间"):
        payer.world.ticketing.order_form(payer.sid)


def test_journal_lines_have_the_fields_of_the_interface_and_number_up() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.pay()
    lines = payer.world.journal()
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    fields = ["seq", "time", "kind", "account", "held_order_no", "order_no", "amount_fen", "outcome"]
    assert all(list(line) == fields for line in lines)
    assert [line["kind"] for line in lines] == ["login", "continue", "gateway", "pay", "debit", "issue"]
    assert payer.world.journal(after=lines[-2]["seq"]) == lines[-1:]
    assert payer.world.journal(after=-5) == lines
    assert PASSWORD not in repr(lines)
