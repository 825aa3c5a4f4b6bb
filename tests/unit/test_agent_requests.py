"""The table of requests (DESIGN section 5) as HTTP decides it: in the transaction it is answered from, by intake's functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.agent_asks import AgentAsk, AgentReply
from pipeline.agent_requests import act_all, look
from pipeline.requests import RequestKind
from pipeline.states import PurchaseState as S
from pipeline.store import history, orders
from tests.contract.store_subjects import AGENT, LOGIN
from tests.unit.message_samples import NEED_PAY, ORDER_NO, TICKET
from tests.unit.order_world import FARE, HOLD, LIMITS, World, order_world

WINDOW_S = 120.0
PAY = AgentAsk(AGENT, ORDER_NO, RequestKind.NEED_PAY, LOGIN, None, HOLD, None, "digest-1")
GO_PAY = replace(PAY, hold=None, digest="digest-2")
CONFIRM = AgentAsk(AGENT, ORDER_NO, RequestKind.CONFIRM, detail={"tickets": [TICKET], "account": LOGIN})
NO_TICKET = AgentAsk(
    AGENT,
    ORDER_NO,
    RequestKind.NO_TICKET,
    detail={"reason": "1", "words": "无票", "comment": "", "passenger_reason": []},
)
LIVE_UNPAID = (S.ACCEPTED, S.READY, S.PAYING)
SUBMITTED = (S.IN_DOUBT, S.PAID_ABNORMAL)
FINISHED = (S.PURCHASED, S.SETTLED)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with order_world(tmp_path) as world:
        yield world


def ask(world: World, what: AgentAsk) -> AgentReply:
    """As the desk does: from a read where nothing changes, else by a write."""
    seen = world.store.read(lambda tx: look(tx, [what], WINDOW_S))
    if seen.replies[0] is not None:
        return seen.replies[0]
    return world.store.write(lambda tx: act_all(tx, [what], LIMITS, WINDOW_S, seen.orders)).value[0]


def code(reply: AgentReply) -> str | None:
    return None if reply.err_code is None else reply.err_code.value


def paid(world: World, **changes: Any) -> World:
    world.hear("order.paid", **changes)
    return world


def at(world: World, state: S | None) -> World:
    """An order whose only purchase, asked for over HTTP, stands there."""
    paid(world)
    if state is not None:
        assert ask(world, PAY) == AgentReply()
        world.to(state)
    return world


def story(world: World) -> list[str]:
    return [line["what"] for line in world.store.read(lambda tx: history.story(tx, ORDER_NO))]


# -- NEED_PAY and 代付请求 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [PAY, GO_PAY])
def test_a_request_opens_a_purchase_and_puts_its_row_straight_at_credentials(world: World, what: AgentAsk) -> None:
    assert ask(paid(world), what) == AgentReply()
    purchase = world.purchase()
    assert (purchase.state, purchase.origin, purchase.held_order_no) == ("accepted", "http", what.hold)
    assert purchase.login == LOGIN
    assert world.work() == [(1, "credentials")]
    assert [kind for _, kind, _ in world.results()] == ["purchase.accepted"]


@pytest.mark.parametrize("state", [*LIVE_UNPAID, S.IN_DOUBT])
@pytest.mark.parametrize("what", [PAY, GO_PAY, replace(PAY, digest="other")])
def test_a_live_purchase_makes_the_request_a_repeat(world: World, state: S, what: AgentAsk) -> None:
    at(world, state)
    before = (world.order(), world.work(), story(world))
    assert ask(world, what) == AgentReply(repeat=True)
    assert (world.order(), world.work(), story(world)) == before


@pytest.mark.parametrize("state", [*LIVE_UNPAID, S.IN_DOUBT])
def test_another_hold_while_one_is_live_is_refused(world: World, state: S) -> None:
    assert code(ask(at(world, state), replace(PAY, hold="E999999999"))) == "204"


@pytest.mark.parametrize("state", FINISHED)
def test_what_is_purchased_is_008(world: World, state: S) -> None:
    assert code(ask(at(world, state), PAY)) == "008"
    assert world.order().generation == 1


@pytest.mark.parametrize("state", [S.PAID_ABNORMAL, S.NEVER_DEBITED])
def test_what_is_abnormal_or_was_is_refused_in_the_documents_words(world: World, state: S) -> None:
    reply = ask(at(world, state), PAY)
    assert code(reply) == "205"
    assert "只能登陆12306核实,不能重新导回到AM、执行代付" in reply.words


def test_an_unpaid_end_is_imported_again_with_other_content_at_once(world: World) -> None:
    at(world, S.HELD_UNPAID)
    assert ask(world, replace(PAY, digest="another password")) == AgentReply()
    assert world.order().generation == 2
    assert world.callbacks()[0] == (1, "2", "cancelled")


def test_the_same_content_is_a_repeat_until_the_window_after_the_outcome_is_over(world: World) -> None:
    at(world, S.HELD_UNPAID)
    world.clock.move(WINDOW_S - 5)
    assert ask(world, PAY) == AgentReply(repeat=True)
    assert world.order().generation == 1
    world.clock.move(10)
    assert ask(world, PAY) == AgentReply()
    assert world.order().generation == 2


def test_a_purchase_that_came_by_the_queue_is_no_repeat_of_an_http_request(world: World) -> None:
    paid(world)
    world.hear("purchase.need_pay")
    world.end_before_intent()
    assert ask(world, PAY) == AgentReply()


def test_a_joint_trip_is_refused_and_its_confirm_is_not(world: World) -> None:
    paid(world, trip="joint")
    assert code(ask(world, PAY)) == "201"
    assert ask(world, CONFIRM) == AgentReply()


def test_an_order_that_nobody_knows_is_112(world: World) -> None:
    for what in (PAY, GO_PAY, CONFIRM, NO_TICKET):
        assert code(ask(world, what)) == "112"


def test_an_order_that_am_asked_to_pay_but_has_not_said_is_paid_is_202(world: World) -> None:
    world.hear("purchase.need_pay", tickets=[], price_fen=NEED_PAY["price_fen"])
    assert code(ask(world, PAY)) == "202"


def test_another_agents_order_is_112_and_nothing_of_it_is_told(world: World) -> None:
    paid(world)
    for what in (PAY, CONFIRM, NO_TICKET):
        assert code(ask(world, replace(what, agent="someone"))) == "112"
    assert story(world) == ["order_paid"]


@pytest.mark.parametrize("closing", [CONFIRM, NO_TICKET])
def test_a_closed_order_is_not_paid_for(world: World, closing: AgentAsk) -> None:
    ask(paid(world), closing)
    assert code(ask(world, PAY)) == "203"


def test_a_refunded_order_is_not_paid_for(world: World) -> None:
    paid(world)
    world.hear("refund.requested")
    assert code(ask(world, PAY)) == "207"
    world.hear("refund.closed", granted=True)
    assert code(ask(world, PAY)) == "203"


# -- CONFIRM ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [None, S.HELD_UNPAID, *LIVE_UNPAID])
def test_confirm_closes_the_order_as_ticketed_offline(world: World, state: S | None) -> None:
    at(world, state)
    assert ask(world, CONFIRM) == AgentReply()
    order = world.order()
    assert (order.closure, order.tickets) == ("ticketed_offline", [TICKET])
    assert (0, "departure") in world.work()
    if state in LIVE_UNPAID:
        assert (world.purchase().state, world.purchase().reason) == ("held_unpaid", "withdrawn")
        assert (world.callbacks(), world.dead_letters()) == ([], [])
    assert ask(world, CONFIRM) == AgentReply(repeat=True)
    assert code(ask(world, NO_TICKET)) == "206"


@pytest.mark.parametrize("state", SUBMITTED)
def test_confirm_is_kept_while_the_money_may_have_moved_and_a_repeat_stores_nothing(world: World, state: S) -> None:
    at(world, state)
    assert ask(world, CONFIRM) == AgentReply()
    assert (world.order().closure, world.order().kept_confirm) == (None, CONFIRM.detail)
    told = story(world)
    assert ask(world, CONFIRM) == AgentReply(repeat=True)
    assert story(world) == told


def test_a_kept_confirm_is_done_when_the_purchase_ends_unpaid(world: World) -> None:
    at(world, S.IN_DOUBT)
    ask(world, CONFIRM)
    world.conclude_unpaid()
    assert world.order().closure == "ticketed_offline"
    assert world.order().tickets == [TICKET]


@pytest.mark.parametrize("state", FINISHED)
def test_confirm_after_the_purchase_stores_the_tickets_and_moves_nothing(world: World, state: S) -> None:
    at(world, state)
    before = world.balances()
    assert ask(world, CONFIRM) == AgentReply()
    assert (world.order().tickets, world.order().closure, world.balances()) == ([TICKET], None, before)
    assert ask(world, CONFIRM) == AgentReply(repeat=True)


# -- NO_TICKET --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [None, S.HELD_UNPAID, *LIVE_UNPAID])
def test_no_ticket_gives_the_user_all_back(world: World, state: S | None) -> None:
    at(world, state)
    assert world.balances()["frozen"] == FARE
    assert ask(world, NO_TICKET) == AgentReply()
    assert (world.order().closure, world.order().frozen_fen) == ("no_ticket", 0)
    assert world.order().close_detail["reason"] == "1"
    assert "frozen" not in world.balances()
    assert ask(world, NO_TICKET) == AgentReply(repeat=True)
    assert code(ask(world, CONFIRM)) == "206"


@pytest.mark.parametrize("state", [*SUBMITTED, *FINISHED])
def test_no_ticket_after_the_intent_is_refused_and_never_with_008(world: World, state: S) -> None:
    at(world, state)
    assert code(ask(world, NO_TICKET)) == "206"
    assert world.order().closure is None
    assert world.balances()["frozen"] == FARE


def test_no_ticket_after_never_debited_gives_all_back(world: World) -> None:
    assert ask(at(world, S.NEVER_DEBITED), NO_TICKET) == AgentReply()
    assert world.order().closure == "no_ticket"


# -- repeats cost nothing ---------------------------------------------------------------------------------------


def test_a_refusal_is_told_once_however_often_it_is_repeated(world: World) -> None:
    at(world, S.PAID_ABNORMAL)
    for _ in range(5):
        assert code(ask(world, PAY)) == "205"
        assert code(ask(world, NO_TICKET)) == "206"
    told = [what for what in story(world) if what.endswith("refused")]
    assert told == ["need_pay_refused", "no_ticket_refused"] * 5  # one line when the refusal changes
    for _ in range(5):
        ask(world, PAY)
    assert len([what for what in story(world) if what.endswith("refused")]) == 11


def test_the_password_of_an_ended_purchase_is_gone(world: World) -> None:
    ask(paid(world), replace(PAY, password_sealed="k1." + "A" * 80))
    assert world.purchase().password_sealed is not None
    ask(world, CONFIRM)
    assert world.purchase().password_sealed is None


def test_nothing_that_was_answered_true_is_undone_by_a_later_read(world: World) -> None:
    at(world, S.IN_DOUBT)
    ask(world, CONFIRM)
    world.conclude_paid()
    facts = world.store.read(lambda tx: orders.facts_of(orders.load(tx, [ORDER_NO])[ORDER_NO]))
    assert (facts.latest, facts.closure) == (S.PURCHASED, None)
    assert world.order().kept_confirm == CONFIRM.detail
