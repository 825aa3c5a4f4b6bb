"""回填 and importing again: what an order's state allows, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import operations
from pipeline.operations import NotFound, Refused
from pipeline.reasons import Reason
from pipeline.store.acts import ActFilter, list_acts
from pipeline.store.audit import audit
from pipeline.store.queries import Json
from schemas.orders import Ticket
from tests.unit.desk_world import ANN, HOLD_NO, Desk, desk_at
from tests.unit.message_samples import DATA, ORDER_NO, TICKET

TICKETS = [Ticket.model_validate(TICKET)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def fill_in(desk: Desk, **given: Any) -> None:
    tickets = given.pop("tickets", TICKETS)
    desk.write(lambda tx: operations.fill_in(tx, ORDER_NO, tickets, ANN, **given))


def import_again(desk: Desk, **given: Any) -> int:
    return desk.write(lambda tx: operations.import_again(tx, ORDER_NO, ANN, desk.rules, **given))


def offer(desk: Desk) -> operations.Offer:
    return desk.read(lambda tx: operations.offer(tx, ORDER_NO, desk.rules))


def refused(act: Any, *given: Any, **named: Any) -> str:
    with pytest.raises(Refused) as caught:
        act(*given, **named)
    return caught.value.code


def acts(desk: Desk) -> list[Json]:
    found = desk.read(lambda tx: list_acts(tx, ActFilter())).rows
    return [row for row in found if row["action"].startswith("orders.")]


def test_filled_in_the_order_is_ticketed_offline_as_by_confirm(desk: Desk) -> None:
    desk.ended(Reason.HOLD_EXPIRED)
    assert offer(desk).fill_in
    fill_in(desk)
    order = desk.order()
    assert (order["order_state"], order["ticket_numbers"]) == ("ticketed_offline", f"{HOLD_NO}(第0程)")
    assert [one["seat_no"] for one in order["passengers"]] == ["11车04号下铺"]
    assert order["issued_seats"] == "硬卧下(1)"
    assert [line["actor"] for line in order["story"] if line["what"] == "ticketed_offline"] == [ANN]
    assert [row["action"] for row in acts(desk)] == ["orders.fill_in"]
    assert f"{ORDER_NO}:0:departure" in desk.work()
    assert refused(fill_in, desk) == "closed"
    assert desk.read(audit).broken == ()


def test_each_passenger_has_one_ticket(desk: Desk) -> None:
    desk.ended(Reason.HOLD_EXPIRED)
    for tickets in ([], TICKETS * 2):
        assert refused(fill_in, desk, tickets=tickets) == "tickets_missing"
    assert desk.order()["order_state"] == "purchase_failed"


def test_nothing_is_filled_in_or_imported_where_money_may_have_moved(desk: Desk) -> None:
    desk.set_password()
    desk.submitted()
    assert [refused(act, desk) for act in (fill_in, import_again)] == ["live", "live"]
    assert offer(desk) == operations.Offer(fill_in=False, import_again=False, why="代付正在进行")


def test_of_an_abnormal_order_neither_is_offered_or_done(desk: Desk) -> None:
    desk.set_password()
    desk.abnormal()
    assert [refused(act, desk) for act in (fill_in, import_again)] == ["205", "205"]
    assert not offer(desk).fill_in
    assert not offer(desk).import_again
    assert desk.order()["tickets"] == []


def test_a_purchased_order_needs_neither(desk: Desk) -> None:
    desk.set_password()
    desk.paid()
    assert [refused(act, desk) for act in (fill_in, import_again)] == ["purchased", "008"]


def test_imported_again_it_is_the_next_generation_with_the_stored_password(desk: Desk) -> None:
    desk.ended(Reason.NOT_SENT)
    assert refused(import_again, desk) == "credential_missing"
    assert "没有保存的密码" in offer(desk).why
    desk.set_password()
    assert offer(desk).import_again
    assert import_again(desk) == 2
    assert (desk.purchase().generation, desk.purchase().held_order_no) == (2, HOLD_NO)
    assert desk.letter()["state"] == "superseded"
    assert [row["action"] for row in acts(desk)] == ["orders.import_again"]
    desk.run("credentials")
    assert desk.passwords.open(desk.purchase().password_sealed).reveal() == "not a real password"
    assert refused(import_again, desk) == "live"


def test_what_a_replay_may_never_do_is_not_done_here_either(desk: Desk) -> None:
    desk.set_password()
    desk.ended(Reason.HOLD_EXPIRED)
    assert refused(import_again, desk) == "hold_expired"
    assert "重新占座" in offer(desk).why


def test_an_agent_that_was_told_agrees_first_or_asks_itself(desk: Desk) -> None:
    desk.set_password()
    desk.ended(Reason.NOT_SENT)
    desk.told()
    assert offer(desk).told_at is not None
    assert refused(import_again, desk) == "agreement_missing"
    assert import_again(desk, of_agent="xcslw") == 2


def test_with_the_agents_agreement_an_operator_imports_it(desk: Desk) -> None:
    desk.set_password()
    desk.ended(Reason.NOT_SENT)
    desk.told()
    assert import_again(desk, agreed="王经理 14:05 电话") == 2
    assert acts(desk)[0]["detail"]["agreed"] == "王经理 14:05 电话"


def test_another_agents_order_is_not_there(desk: Desk) -> None:
    desk.ended(Reason.NOT_SENT)
    for act in (fill_in, import_again):
        with pytest.raises(NotFound):
            act(desk, of_agent="other")
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.fill_in(tx, "nobody's", TICKETS, ANN))


def test_an_order_without_a_purchase_can_only_be_filled_in(desk: Desk) -> None:
    desk.send("order.paid", DATA["order.paid"])
    assert refused(import_again, desk) == "no_purchase"
    fill_in(desk)
    assert desk.order()["order_state"] == "ticketed_offline"
