"""12306 accounts as the sandbox keeps them: passwords, locks, captchas, one live session each."""

from __future__ import annotations

import pytest

from pipeline.railway.sandbox import behaviours
from pipeline.railway.sandbox.behaviours import Fault, Says
from tests.unit.sandbox_world import ACCOUNT, HOLD_NO, PASSWORD, Payer, hold_body

WRONG = "not-it"


def _refused(payer: Payer, password: str = WRONG) -> str:
    with pytest.raises(Says) as said:
        payer.log_in(password=password)
    return said.value.text


def test_a_second_login_ends_the_first_session() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    first = payer.log_in()
    payer.log_in()
    with pytest.raises(Says, match="其他地点登录"):
        payer.world.ticketing.unpaid(first)
    assert len(payer.unpaid()) == 1
    assert payer.outcomes("login") == ["ok", "ok", "taken_over"]


def test_a_login_counts_only_after_it_was_completed() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.world.ticketing.login("half", ACCOUNT, PASSWORD)
    with pytest.raises(Says, match="用户未登录"):
        payer.world.ticketing.unpaid("half")
    with pytest.raises(Says, match="用户未登录"):
        payer.world.ticketing.enter("nobody")


def test_the_fourth_wrong_password_locks_the_account_for_twenty_minutes() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    texts = [_refused(payer) for _ in range(4)]
    assert texts == [behaviours.WRONG_PASSWORD] * 3 + [behaviours.LOCKED]
    assert _refused(payer, PASSWORD) == behaviours.LOCKED
    payer.clock.advance(20 * 60 - 1)
    assert _refused(payer, PASSWORD) == behaviours.LOCKED
    payer.clock.advance(1)
    payer.log_in()
    assert payer.outcomes("login") == ["wrong_password"] * 3 + ["locked"] * 3 + ["ok"]


def test_a_good_login_forgets_the_wrong_ones() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    for _ in range(3):
        assert [_refused(payer) for _ in range(3)] == [behaviours.WRONG_PASSWORD] * 3
        payer.log_in()


def test_an_account_nobody_mentioned_does_not_exist() -> None:
    payer = Payer()
    assert _refused(payer) == behaviours.NO_SUCH_LOGIN
    assert payer.outcomes("login") == ["wrong_password"]


def test_a_wrong_password_hold_refuses_the_password_it_was_given() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("wrong_password"))
    assert _refused(payer, PASSWORD) == behaviours.WRONG_PASSWORD
    assert payer.outcomes("login") == ["wrong_password"]


def test_the_password_given_last_is_the_accounts() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("wrong_password"))
    payer.world.add_hold(hold_body(held_order_no="E000000002", password="invented-pass-2", force=True))
    assert _refused(payer, PASSWORD) == behaviours.WRONG_PASSWORD
    payer.log_in(password="invented-pass-2")
    assert len(payer.unpaid()) == 2


def test_a_locked_account_refuses_the_right_password() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("account_locked"))
    assert _refused(payer, PASSWORD) == behaviours.LOCKED
    assert payer.outcomes("login") == ["locked"]


def test_a_captcha_is_wanted_and_only_its_own_answer_passes() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("captcha"))
    ticketing = payer.world.ticketing
    assert ticketing.captcha_wanted(ACCOUNT)
    assert not ticketing.captcha_wanted("somebody_else")
    assert _refused(payer, PASSWORD) == behaviours.CAPTCHA_WRONG
    assert payer.outcomes("login") == []
    ticketing.login("with-picture", ACCOUNT, PASSWORD, ticketing.captcha_answer("with-picture"))
    assert payer.outcomes("login") == ["ok"]


def test_the_agent_takes_the_session_over_once() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body("session_taken_over"))
    payer.log_in()
    with pytest.raises(Says, match="其他地点登录"):
        payer.unpaid()
    payer.log_in()
    assert len(payer.unpaid()) == 1
    assert payer.outcomes("login") == ["ok", "taken_over", "ok"]


def test_an_account_sees_its_own_holds_only() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.world.add_hold(hold_body(account="agent_user02", held_order_no="E000000002"))
    payer.log_in(account="agent_user02")
    assert [order.hold_no for order in payer.unpaid()] == ["E000000002"]
    with pytest.raises(Says, match="没有该订单"):
        payer.form(HOLD_NO)


@pytest.mark.parametrize("mode", ["refuse", "timeout", "503", "maintenance"])
def test_an_outage_stops_every_call_of_12306_and_ends_by_itself(mode: str) -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    payer.log_in()
    payer.world.set_outage({"railway": True, "mode": mode, "for_s": 30})
    for call in (payer.log_in, payer.unpaid, payer.finished, payer.form, payer.world.ticketing.alive):
        with pytest.raises(Fault) as down:
            call()
        assert down.value.way == mode
    assert payer.outcomes("login") == ["ok"]
    payer.clock.advance(30)
    assert len(payer.unpaid()) == 1


def test_another_outage_replaces_the_first() -> None:
    payer = Payer()
    payer.world.set_outage({"railway": True, "mode": "503", "for_s": 60})
    payer.world.set_outage({"cashier": True, "mode": 503, "for_s": 60})
    payer.world.ticketing.alive()
    with pytest.raises(Fault):
        payer.world.till.trade("0")
    payer.world.set_outage({})
    payer.world.till.trade("0")
