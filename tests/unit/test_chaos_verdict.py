"""The verdict on a run under fire: what it takes for right, and that each thing that may go wrong makes it say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.orders import AGENTS, Order, orders_of
from tests.chaos.verdict import Found, Late, judge
from tests.chaos.watch import Sample, growing
from tests.integration.pipeline_endings import ENDINGS

Change = Callable[[Found], Found]


def an_order(number: int, behaviour: str = "ok") -> Order:
    order_no = f"xcslw{number}"
    return Order(order_no, AGENTS[0], f"E{number:09d}", "someone@example.com", "invented", behaviour, True)


def lines_of(order: Order, *, pays: int, debits: int, told: str) -> list[dict[str, Any]]:
    pay = {"kind": "pay", "held_order_no": order.hold_no, "order_no": None, "outcome": "received"}
    callback = {"kind": "callback", "held_order_no": None, "order_no": order.order_no, "hmac_ok": True}
    failed = {**callback, "pay_status": told, "outcome": "500"}
    return [
        *[pay] * pays,
        *[{**pay, "kind": "debit", "outcome": "taken"}] * debits,
        failed,
        {**callback, "pay_status": told, "outcome": "ok"},
    ]


def row_of(state: str, reason: str | None, pay_status: str) -> dict[str, Any]:
    outcome = "purchased" if state == "settled" else state
    return {
        "state": state,
        "outcome": outcome,
        "reason": reason,
        "pay_status": pay_status,
        "agent_told": True,
        "generation": 1,
    }


def a_run(*behaviours: str) -> Found:
    """Every order ended as its behaviour says."""
    orders = [an_order(number, behaviour) for number, behaviour in enumerate(behaviours, 1)]
    journal: list[dict[str, Any]] = []
    rows: dict[str, dict[str, Any]] = {}
    events: dict[str, dict[int, str]] = {}
    for order in orders:
        ending = ENDINGS[order.behaviour]
        journal += lines_of(order, pays=ending.pays, debits=ending.debits, told=ending.pay_status)
        rows[order.order_no] = row_of(ending.state, ending.reason, ending.pay_status)
        events[order.order_no] = {1: "purchase.accepted", 2: f"purchase.{ending.state}"}
    return Found(orders, journal, rows, events, {"ok": True, "broken": []}, {"daifu.payment": 0}, {"work": 0}, kills=7)


def ended_otherwise(found: Found, state: str, reason: str, pay_status: str, *, pays: int, outcome: str) -> Found:
    """The first order ended another way."""
    order = found.orders[0]
    journal = lines_of(order, pays=pays, debits=0, told=pay_status)
    for line in journal:
        line |= {"outcome": outcome} if line["kind"] == "pay" else {}
    rows = {order.order_no: row_of(state, reason, pay_status)}
    events = {order.order_no: {1: "purchase.accepted", 2: f"purchase.{state}"}}
    return replace(found, journal=journal, rows=rows, events=events)


def test_all_behaviours_ended_as_they_should_is_ok() -> None:
    verdict = judge(a_run(*ENDINGS))
    assert verdict.findings == ()
    assert verdict.endings == {"as its behaviour says": len(ENDINGS)}
    line = json.loads(verdict.line(seed=1))
    assert line == {"ok": True, "orders": 27, "kills": 7, "double_paid": 0, "lost": 0, "seed": 1}


def paid_twice(found: Found) -> Found:
    order = found.orders[0]
    return replace(found, journal=[*found.journal, *lines_of(order, pays=1, debits=1, told="1")])


def test_a_second_pay_of_a_hold_is_counted_and_fails_the_run() -> None:
    verdict = judge(paid_twice(a_run("ok", "ok")))
    assert (verdict.ok, verdict.double_paid, verdict.lost) == (False, 1, 0)


def test_a_second_form_that_came_too_late_to_move_money_counts_as_well() -> None:
    found = a_run("ok")
    late = {"kind": "pay", "held_order_no": found.orders[0].hold_no, "order_no": None, "outcome": "late"}
    assert judge(replace(found, journal=[*found.journal, late])).double_paid == 1


def test_a_second_debit_alone_counts() -> None:
    found = a_run("ok")
    debit = {"kind": "debit", "held_order_no": found.orders[0].hold_no, "order_no": None, "outcome": "taken"}
    assert judge(replace(found, journal=[*found.journal, debit])).double_paid == 1


def test_an_order_that_daifu_never_heard_of_is_lost() -> None:
    found = a_run("ok", "refuse")
    gone = found.orders[1].order_no
    rows = {number: row for number, row in found.rows.items() if number != gone}
    verdict = judge(replace(found, rows=rows))
    assert (verdict.ok, verdict.double_paid, verdict.lost) == (False, 0, 1)
    assert "unknown to daifu" in verdict.findings[0]


@pytest.mark.parametrize(
    "change",
    [{"outcome": None, "state": "paying"}, {"state": "purchased"}, {"agent_told": False}, {"pay_status": "3"}],
    ids=["never ended", "never settled", "not told", "told another status than the agent took"],
)
def test_an_order_that_did_not_end_or_whose_agent_does_not_know_is_lost(change: dict[str, Any]) -> None:
    found = a_run("ok")
    number = found.orders[0].order_no
    verdict = judge(replace(found, rows={number: {**found.rows[number], **change}}))
    assert (verdict.ok, verdict.lost) == (False, 1)


def test_an_order_whose_callback_no_agent_ever_took_is_lost_whatever_the_database_says() -> None:
    found = a_run("ok")
    journal = [line for line in found.journal if line["kind"] != "callback" or line["outcome"] != "ok"]
    assert judge(replace(found, journal=journal)).lost == 1


ORDER = "xcslw1"
WRONG: dict[str, Change] = {
    "told paid, nothing taken": lambda found: ended_otherwise(found, "settled", "", "1", pays=1, outcome="received"),
    "an unpaid end after a form that was received": lambda found: ended_otherwise(
        found, "held_unpaid", "unpaid_after_deadline", "2", pays=1, outcome="received"
    ),
    "a reason that no fault explains": lambda found: ended_otherwise(
        found, "held_unpaid", "wrong_password", "2", pays=0, outcome=""
    ),
    "an audit that is not clean": lambda found: replace(found, audit={"ok": False, "broken": [{"invariant": "x"}]}),
    "a queue that holds something": lambda found: replace(found, queues={"daifu.intake.dlq": 1}),
    "a work row that is left": lambda found: replace(found, left_rows={"work": 1}),
    "a process that ended by itself": lambda found: replace(found, troubles=("relay ended by itself with 1",)),
    "a result that AM never got": lambda found: replace(
        found, events={ORDER: {1: "purchase.accepted", 3: "purchase.settled"}}
    ),
    "AM does not know how it ended": lambda found: replace(found, events={ORDER: {1: "purchase.accepted"}}),
    "accepted twice": lambda found: replace(
        found, events={ORDER: {1: "purchase.accepted", 2: "purchase.accepted", 3: "purchase.settled"}}
    ),
    "a hold paid that nobody asked for": lambda found: replace(
        found, journal=[*found.journal, *lines_of(an_order(9), pays=1, debits=1, told="1")]
    ),
    "an order that nobody sent": lambda found: replace(
        found, rows={**found.rows, "xcslw9": row_of("settled", None, "1")}
    ),
    "a callback with a wrong signature": lambda found: replace(
        found, journal=[{**line, "hmac_ok": False} if line["kind"] == "callback" else line for line in found.journal]
    ),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_anything_else_that_is_wrong_fails_the_run(change: Change) -> None:
    verdict = judge(change(a_run("ok")))
    assert not verdict.ok
    assert verdict.findings


def test_money_taken_from_an_order_whose_agent_was_told_unpaid_fails_the_run() -> None:
    found = a_run("ok")
    journal = lines_of(found.orders[0], pays=1, debits=1, told="2")
    rows = {ORDER: row_of("held_unpaid", "unpaid_after_deadline", "2")}
    events = {ORDER: {1: "purchase.accepted", 2: "purchase.held_unpaid"}}
    verdict = judge(replace(found, journal=journal, rows=rows, events=events))
    assert any("told unpaid, and the money was taken" in finding for finding in verdict.findings)


@pytest.mark.parametrize(
    ("behaviour", "reason", "pays", "outcome"),
    [
        ("ok", "request_expired", 0, ""),
        ("ok", "not_sent", 0, ""),
        ("ok", "unpaid_after_deadline", 0, ""),
        ("ok", "unpaid_after_deadline", 1, "late"),
        ("ok", "pay_refused", 1, "late"),
        ("ok", "unpaid_after_deadline", 1, "outage"),
        ("refuse", "unpaid_after_deadline", 1, "received"),
        ("paid_not_issued", "request_expired", 0, ""),
        ("wrong_password", "request_expired", 0, ""),
    ],
)
def test_what_a_fault_may_change_is_right(behaviour: str, reason: str, pays: int, outcome: str) -> None:
    found = ended_otherwise(a_run(behaviour), "held_unpaid", reason, "2", pays=pays, outcome=outcome)
    verdict = judge(found)
    assert verdict.findings == ()
    assert verdict.endings == {f"{behaviour} → held_unpaid {reason} {pays}/0": 1}


def test_a_run_in_which_almost_nothing_could_be_paid_proves_nothing() -> None:
    late = ended_otherwise(a_run("ok"), "held_unpaid", "request_expired", "2", pays=0, outcome="")
    assert judge(late).ok
    assert not judge(replace(late, at_least=0.5)).ok


def test_orders_are_a_function_of_the_seed_and_show_every_behaviour() -> None:
    assert orders_of(7, 200) == orders_of(7, 200)
    assert orders_of(7, 200) != orders_of(8, 200)
    assert {order.behaviour for order in orders_of(7, 200)} == set(ENDINGS)
    assert len({order.hold_no for order in orders_of(7, 200)}) == 200


def test_only_what_grows_over_a_long_life_is_named() -> None:
    flat = [Sample(age_s, 100.0, 30) for age_s in range(0, 1200, 5)]
    swelling = [Sample(age_s, 100.0 + age_s / 10, 30) for age_s in range(0, 1200, 5)]
    leaking = [Sample(age_s, 100.0, 30 + age_s) for age_s in range(0, 1200, 5)]
    lives = {("relay", 1): flat, ("payment", 2): swelling, ("serve", 3): leaking, ("intake", 4): swelling[:60]}
    assert [words.split()[0] for words in growing(lives)] == ["payment", "serve"]


FORM_AT = datetime(2026, 11, 28, 9, tzinfo=UTC)
LATE = Late(128.0, 180.0)
LISTED, TRADE_PAID, LOGIN = ("query", "none_unpaid"), ("query", "trade_paid"), ("login", "ok")


def ended_unknown(*said: tuple[float, tuple[str, str]]) -> Found:
    """A form was received and paid, the purchase is a person's task; 12306 and the cashier said this, so long after the form."""
    found = a_run("paid_not_issued")
    order = found.orders[0]
    form, *others = lines_of(order, pays=1, debits=1, told="3")
    answers = [
        {
            "kind": kind,
            "outcome": outcome,
            "account": order.account,
            "held_order_no": order.hold_no if outcome.startswith("trade_") else None,
            "time": (FORM_AT + timedelta(seconds=after_s)).isoformat(),
        }
        for after_s, (kind, outcome) in said
    ]
    rows = {order.order_no: row_of("paid_abnormal", "outcome_unknown", "3")}
    journal = [{**form, "time": FORM_AT.isoformat()}, *others, *answers]
    return replace(found, journal=journal, rows=rows, late=LATE)


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(1, LISTED), (1, TRADE_PAID), (200, LISTED), (200, TRADE_PAID)],
        [(130, LISTED)],
        [(150, TRADE_PAID)],
        [(130, LISTED), (150, LOGIN), (150, TRADE_PAID)],
    ],
    ids=["nothing", "too early and too late", "12306 alone", "the cashier alone", "each in another round"],
)
def test_a_payment_whose_late_questions_nobody_answered_whole_may_end_as_a_persons_task(said: list[Any]) -> None:
    assert judge(ended_unknown(*said)).findings == ()


def test_what_the_cashier_says_of_another_order_on_the_same_account_is_no_answer() -> None:
    found = ended_unknown((130, LISTED), (131, TRADE_PAID))
    others = [{**one, "held_order_no": "E9"} if one["outcome"] == "trade_paid" else one for one in found.journal]
    assert judge(replace(found, journal=others)).findings == ()


def test_a_payment_that_late_answers_would_have_proven_may_not() -> None:
    (finding,) = judge(ended_unknown((130, LOGIN), (130, LISTED), (131, TRADE_PAID))).findings
    assert "outcome_unknown" in finding


def ended_wrong_password(*said: tuple[str, str]) -> Found:
    """A fine order ended as if its password were wrong; its account was told this, in this order."""
    found = ended_otherwise(a_run("ok"), "held_unpaid", "wrong_password", "2", pays=0, outcome="")
    common = {"account": found.orders[0].account, "held_order_no": None, "time": FORM_AT.isoformat()}
    told = [{**common, "kind": kind, "outcome": outcome} for kind, outcome in said]
    return replace(found, journal=[*found.journal, *told])


def test_an_account_whose_logins_nobody_heard_the_answers_of_may_be_left_to_a_person() -> None:
    assert judge(ended_wrong_password(LOGIN, LOGIN, ("login", "taken_over"))).findings == ()


@pytest.mark.parametrize("said", [[LOGIN, LISTED, LOGIN, LISTED, LOGIN], [LOGIN], []])
def test_an_account_whose_logins_were_used_may_not(said: list[Any]) -> None:
    (finding,) = judge(ended_wrong_password(*said)).findings
    assert "wrong_password" in finding


def test_a_form_that_nobody_received_and_nobody_answered_for_may_end_as_a_persons_task() -> None:
    found = ended_unknown()
    order = found.orders[0]
    asked = {"kind": "continue", "held_order_no": order.hold_no, "time": FORM_AT.isoformat()}
    silent = [*lines_of(order, pays=0, debits=0, told="3"), asked]
    assert judge(replace(found, journal=silent)).findings == ()
    assert "outcome_unknown" in judge(replace(found, journal=silent[:-1])).findings[0]
