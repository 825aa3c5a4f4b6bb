"""The payment stage before the intent: what stops it, what puts it off, and what must not be blamed on the purchase."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.payment_items import Again, Ended, PayItem, Submitted
from pipeline import endings
from pipeline.errors import Garbled
from pipeline.ports import RailwayOrder
from pipeline.reasons import Reason
from pipeline.stage import CRASH_LOOP_DEATHS, MAX_UNEXPECTED
from pipeline.store import accounts, attempts, tables
from pipeline.store.audit import audit
from pipeline.store.engine import StoreUnavailable
from pipeline.store.work import Step
from tests.unit.desk_world import ACCOUNT, HOLD_NO, Desk, desk_at
from tests.unit.message_samples import ORDER_NO
from tests.unit.payment_world import PAY_KEY, Outside, PayingDesk, Session, held


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk
        report = desk.read(audit)
        assert report.ok, report.broken


@pytest.fixture
def paying(desk: Desk) -> PayingDesk:
    """The hold can be paid for an hour."""
    made = PayingDesk(desk, Outside())
    made.outside.unpaid = [held(made.in_an_hour())]
    return made


def pay(paying: PayingDesk, item: PayItem) -> object:
    return asyncio.run(paying.calls.pay(item))


def test_a_hold_that_is_as_asked_for_is_submitted_once(paying: PayingDesk) -> None:
    paying.ready()
    result = pay(paying, paying.claim())
    assert isinstance(result, Submitted)
    paying.conclude(result)
    assert (paying.outside.submits, paying.outside.open_sessions) == (1, 0)
    assert paying.desk.purchase().state == "in_doubt"


def test_still_in_doubt_the_agent_is_told_at_the_stop_that_the_look_has_set(paying: PayingDesk) -> None:
    paying.ready()
    deadline = paying.desk.clock.moment + timedelta(minutes=5)
    paying.outside.unpaid = [held(deadline)]
    assert isinstance(pay(paying, paying.claim()), Submitted)
    assert paying.row(Step.TELL, 0).due_at == deadline - timedelta(minutes=1)
    assert paying.desk.purchase().stop_at == deadline - timedelta(minutes=1)


def test_what_ended_during_the_look_is_not_bound_to_the_hold(paying: PayingDesk) -> None:
    paying.ready()
    item = paying.claim()
    purchase = paying.desk.purchase()
    paying.act(
        lambda tx: endings.end_before_intent(
            tx, purchase, Reason.WITHDRAWN, "", stage="intake", actor="am", own_act=True
        )
    )
    result = pay(paying, item)
    assert isinstance(result, Again)
    assert result.error == "stopped"
    assert (paying.desk.purchase().hold_deadline, paying.outside.submits) == (None, 0)


def test_a_paused_attempt_is_not_bound_to_the_hold(paying: PayingDesk) -> None:
    paying.ready()
    item = paying.claim()
    paying.act(lambda tx: attempts.close_open(tx, item.purchase_id, "paused"))
    assert isinstance(pay(paying, item), Again)
    assert paying.desk.purchase().hold_deadline is None


def test_a_hold_of_another_order_is_a_conflict(paying: PayingDesk) -> None:
    paying.ready()
    item = paying.claim()
    row = {
        "id": "other:1:1", "purchase_id": "other:1", "order_no": "other", "generation": 1, "n": 1, "fence": 1,
        "login": ACCOUNT, "held_order_no": HOLD_NO, "opened_at": paying.desk.clock.moment,
    }  # fmt: skip
    paying.act(lambda tx: tx.run(tables.attempts.insert().values(**row)))
    result = pay(paying, item)
    assert isinstance(result, Ended)
    assert result.reason is Reason.HELD_ORDER_CONFLICT
    paying.act(lambda tx: tx.run(tables.attempts.delete().where(tables.attempts.c.id == "other:1:1")))


def test_a_database_that_is_gone_is_no_fault_of_the_purchase(
    paying: PayingDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StoreUnavailable("connection refused")

    paying.ready()
    for _ in range(MAX_UNEXPECTED + 1):
        item = paying.claim()
        with monkeypatch.context() as broken:
            broken.setattr(attempts, "bind_holds", gone)
            paying.conclude(pay(paying, item))
        paying.desk.later(600 / (MAX_UNEXPECTED + 2))
    assert (paying.row(Step.PAY).tries, paying.desk.purchase().state) == (0, "ready")


def test_a_crash_loop_leaves_no_attempt_open(paying: PayingDesk) -> None:
    paying.ready()
    paying.claim()
    assert paying.desk.purchase().state == "paying"
    dead = tables.work.update().where(tables.work.c.key == PAY_KEY)
    paying.act(lambda tx: tx.run(dead.values(deaths=CRASH_LOOP_DEATHS, lease_owner=None, lease_end=None)))
    assert paying.desk.write(lambda tx: paying.stage.prepare(tx, [PAY_KEY])) == []
    assert (paying.desk.letter()["reason"], paying.desk.purchase().state) == ("crash_loop", "ready")
    found = paying.desk.read(lambda tx: attempts.of_order(tx, ORDER_NO))
    assert [attempt.concluded_at is None for attempt in found] == [False]


def test_the_next_try_comes_before_stop_at(paying: PayingDesk) -> None:
    paying.ready()
    paying.desk.later(1_200 - 60)  # a minute is left
    item = paying.claim()
    paying.conclude(Again(item, "12306 down", delay_s=300.0))
    assert paying.row(Step.PAY).due_at == paying.desk.purchase().stop_at - timedelta(seconds=10)


def test_a_line_that_fails_to_close_takes_nothing_from_the_result(paying: PayingDesk) -> None:
    paying.outside.closing = OSError("reset")
    paying.ready()
    assert isinstance(pay(paying, paying.claim()), Submitted)
    assert paying.outside.open_sessions == 0


def test_a_clock_that_is_wrong_leaves_no_session_open(paying: PayingDesk) -> None:
    paying.outside.skew_s = 90.0
    paying.ready()
    assert isinstance(pay(paying, paying.claim()), Again)
    assert paying.outside.open_sessions == 0


def test_a_look_that_fails_is_over_only_when_the_login_is_no_try_any_more(
    paying: PayingDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def garbled(_session: Session) -> tuple[RailwayOrder, ...]:
        raise Garbled("railway", "no JSON")

    monkeypatch.setattr(Session, "unpaid_orders", garbled)
    paying.ready()
    assert isinstance(pay(paying, paying.claim()), Again)
    account = paying.desk.read(lambda tx: accounts.account(tx, ACCOUNT))
    assert account is not None
    assert account.refused_tries == 0


def test_tries_that_can_not_be_cleared_leave_no_session_open(
    paying: PayingDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StoreUnavailable("connection refused")

    monkeypatch.setattr(accounts, "take_back_tries", gone)
    paying.ready()
    assert isinstance(pay(paying, paying.claim()), Again)
    assert paying.outside.open_sessions == 0
