"""After a restore nobody is told "unpaid" about a hold that may have been paid meanwhile (DESIGN section 5.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import endings, operations
from pipeline.broker.port import Outgoing
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.operations import Refused
from pipeline.reasons import Reason
from pipeline.relay import Relay, RelayTimes
from pipeline.store import callbacks, recovery, tasks, work
from pipeline.store.audit import audit
from pipeline.store.audit_journal import audit_journal
from pipeline.store.work import Step
from tests.unit.desk_world import ANN, HOLD_NO, PRICE_FEN, START, Desk, desk_at
from tests.unit.message_samples import DATA, NEED_PAY, ORDER, ORDER_NO
from tests.unit.payment_world import Outside, PayingDesk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk
        report = desk.read(audit)
        assert report.ok, report.broken


class Silent:
    connected = True

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nothing is open."""


def relay(desk: Desk) -> None:
    """One round of the relay."""
    asyncio.run(Relay(Silent(), desk.store, InlineExecutor(), Metrics(), RelayTimes(5.0, 86_400.0)).tick())


def restored(desk: Desk) -> None:
    desk.later(1)
    desk.write(lambda tx: operations.recover(tx, START - timedelta(hours=1), ANN))


def open_tasks(desk: Desk) -> list[str]:
    return [task.kind for task in desk.read(tasks.find)]


def answer(desk: Desk, resolution: str) -> None:
    (task,) = (task for task in desk.read(tasks.find) if task.kind == recovery.TASK)
    desk.write(lambda tx: operations.close_task(tx, task.id, resolution, "12306未完成订单页", ANN))


def finish(desk: Desk) -> None:
    desk.write(lambda tx: operations.finish_recovery(tx, ANN))


def told(desk: Desk) -> list[str]:
    return [row.pay_status for row in desk.read(lambda tx: callbacks.of_orders(tx, [ORDER_NO]))]


def test_a_recovered_purchase_does_not_end_at_stop_at_before_it_was_asked_about(desk: Desk) -> None:
    desk.ready()
    restored(desk)
    desk.later(3_600)
    relay(desk)
    assert (desk.purchase().state, told(desk)) == ("ready", [])
    answer(desk, "unpaid")
    relay(desk)
    assert desk.purchase().state == "ready", "while paying is paused nothing ends at stop_at"
    finish(desk)
    relay(desk)
    assert (desk.purchase().state, desk.purchase().reason, told(desk)) == ("held_unpaid", "request_expired", ["2"])


@pytest.mark.parametrize("state", ["accepted", "ready", "paying"])
def test_a_recovered_hold_that_was_paid_becomes_paid_abnormal(desk: Desk, state: str) -> None:
    desk.requested() if state == "accepted" else desk.ready()
    if state == "paying":
        desk.open_attempt()
    restored(desk)
    desk.later(3_600)
    answer(desk, "paid")
    assert (desk.purchase().state, desk.purchase().reason) == ("paid_abnormal", "paid_elsewhere")
    assert (told(desk), open_tasks(desk)) == (["3"], ["close_abnormal"])
    finish(desk)
    assert desk.send("purchase.need_pay", NEED_PAY).err_code == "205"


def test_a_payment_of_the_lost_time_is_booked_when_its_order_is_closed(desk: Desk) -> None:
    desk.ready()
    restored(desk)
    answer(desk, "paid")
    finish(desk)
    desk.write(
        lambda tx: operations.close_abnormal(
            tx, ORDER_NO, operations.Fate.TICKETED, PRICE_FEN, "收银台账单第3行", ANN, four_eyes_fen=10**9
        )
    )
    desk.run("settlement")
    assert (desk.order()["state"], told(desk)[-1]) == ("settled", "1")
    taken = {"held_order_no": HOLD_NO, "amount_fen": PRICE_FEN, "time": "2014-11-01T00:00:00+00:00"}
    lines = [{"seq": seq, "kind": kind} | taken for seq, kind in enumerate(("pay", "debit", "issue"))]
    assert desk.read(lambda tx: audit_journal(tx, lines)) == []


def test_a_question_is_answered_with_paid_or_unpaid(desk: Desk) -> None:
    desk.ready()
    restored(desk)
    with pytest.raises(Refused, match="paid_or_unpaid"):
        answer(desk, "看过了")
    assert open_tasks(desk) == [recovery.TASK]


def test_an_unpaid_hold_goes_on_to_be_paid(desk: Desk) -> None:
    desk.ready()
    restored(desk)
    answer(desk, "unpaid")
    finish(desk)
    key = work.work_key(ORDER_NO, 1, Step.PAY)
    assert len(desk.write(lambda tx: work.claim(tx, [key], "w", 60.0))) == 1


def test_an_order_from_before_that_is_imported_while_paying_is_paused_is_asked_about_too(desk: Desk) -> None:
    restored(desk)
    desk.later(1)
    desk.send("order.paid", ORDER)
    assert desk.send("purchase.need_pay", NEED_PAY).result == "accepted"
    with pytest.raises(Refused, match="holds_open"):
        finish(desk)
    answer(desk, "unpaid")
    finish(desk)


def test_an_order_that_was_paid_after_the_restore_is_in_no_question(desk: Desk) -> None:
    restored(desk)
    desk.later(60)
    moment = desk.clock.moment.isoformat()
    desk.send("order.paid", ORDER | {"ordered_at": moment, "paid_at": moment})
    assert desk.send("purchase.need_pay", NEED_PAY).result == "accepted"
    assert open_tasks(desk) == []


@pytest.mark.parametrize("reason", [Reason.REQUEST_EXPIRED, Reason.WRONG_PASSWORD, Reason.INSUFFICIENT_FUNDS])
def test_what_ends_without_having_asked_12306_leaves_it_to_a_person(desk: Desk, reason: Reason) -> None:
    desk.ready()
    restored(desk)
    purchase = desk.purchase()
    assert not desk.write(
        lambda tx: endings.end_before_intent(tx, purchase, reason, "", stage="payment", actor="system:payment")
    )
    assert (desk.purchase().state, told(desk), open_tasks(desk)) == ("ready", [], [recovery.TASK])
    answer(desk, "unpaid")
    assert (desk.purchase().state, desk.purchase().reason, told(desk)) == ("held_unpaid", reason, ["2"])


def test_the_relay_asks_a_person_about_what_came_after_the_recovery(desk: Desk) -> None:
    restored(desk)
    finish(desk)
    desk.ready()
    desk.later(3_600)
    relay(desk)
    assert (desk.purchase().state, told(desk), open_tasks(desk)) == ("ready", [], [recovery.TASK])
    relay(desk)
    answer(desk, "unpaid")
    assert (desk.purchase().state, desk.purchase().reason) == ("held_unpaid", "request_expired")


def test_a_hold_that_12306_was_asked_about_needs_no_person(desk: Desk) -> None:
    desk.ready()
    restored(desk)
    purchase = desk.purchase()
    assert desk.write(
        lambda tx: endings.end_before_intent(
            tx, purchase, Reason.HOLD_NOT_FOUND, "", stage="payment", actor="system:payment", asked=True
        )
    )
    assert (desk.purchase().state, open_tasks(desk)) == ("held_unpaid", [])


@pytest.mark.parametrize(("hold", "asks"), [(None, True), (HOLD_NO, False)])
def test_a_request_without_a_hold_number_does_not_end_as_not_found(desk: Desk, hold: str | None, *, asks: bool) -> None:
    restored(desk)
    finish(desk)
    paying = PayingDesk(desk, Outside())  # 12306 lists nothing
    paying.ready(held_order_no=hold, tickets=[])
    paying.conclude(asyncio.run(paying.calls.pay(paying.claim())))
    if asks:
        assert (desk.purchase().state, told(desk), open_tasks(desk)) == ("ready", [], [recovery.TASK])
        answer(desk, "unpaid")
    assert (desk.purchase().state, desk.purchase().reason) == ("held_unpaid", "hold_not_found")


def test_a_confirm_waits_until_the_hold_was_asked_about_and_then_nothing_is_paid(desk: Desk) -> None:
    desk.ready()
    restored(desk)
    assert desk.send("purchase.confirmed", DATA["purchase.confirmed"]).result == "done"
    assert desk.send("purchase.no_ticket", DATA["purchase.no_ticket"]).err_code == "206"
    assert (desk.purchase().state, desk.order()["order_state"]) == ("ready", "purchasing")
    answer(desk, "unpaid")
    assert (desk.purchase().state, desk.purchase().reason) == ("held_unpaid", "withdrawn")
    assert (desk.order()["order_state"], told(desk)) == ("ticketed_offline", [])


def test_a_purchase_in_question_is_not_discarded(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    restored(desk)
    with pytest.raises(Refused, match="recovered_hold"):
        desk.write(lambda tx: operations.discard(tx, letter, "不要了", ANN))
