"""Discarding and restoring dead letters, pausing, unblocking, tasks, telling again, recovering."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import operations, setbacks
from pipeline.operations import NotFound, Refused, Scope
from pipeline.reasons import Reason
from pipeline.secret import Secret
from pipeline.store import accounts, callbacks, control, results, tasks, work
from pipeline.store.attempts import STOPPED
from pipeline.store.audit import audit
from pipeline.store.queries_desk import list_accounts, list_agents, list_pauses
from pipeline.store.work import Step
from tests.unit.desk_world import ACCOUNT, AGENT, ANN, BOB, START, Desk, desk_at
from tests.unit.message_samples import DATA, NEED_PAY, ORDER_NO


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk
        report = desk.read(audit)
        assert report.ok, report.broken


def test_discarding_ends_a_live_purchase_without_intent_as_withdrawn(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    desk.write(lambda tx: operations.discard(tx, letter, "代理商已自行处理", ANN))
    order = desk.order()
    assert (order["state"], order["reason"], order["pay_status"]) == ("held_unpaid", "withdrawn", "2")
    assert (desk.letter()["id"], desk.letter()["state"], desk.letter()["note"]) == (
        letter,
        "discarded",
        "代理商已自行处理",
    )


def test_discarding_after_the_intent_is_refused(desk: Desk) -> None:
    desk.ready()
    letter = desk.gave_up(Step.PAY)
    desk.submit(desk.open_attempt())
    with pytest.raises(Refused, match="has_intent"):
        desk.write(lambda tx: operations.discard(tx, letter, "不要了", ANN))
    assert desk.letter()["state"] == "open"


def test_an_abnormal_is_not_discarded(desk: Desk) -> None:
    desk.abnormal()
    letter = desk.letter()["id"]
    with pytest.raises(Refused, match="has_intent"):
        desk.write(lambda tx: operations.discard(tx, letter, "不要了", ANN))


def test_what_was_discarded_can_be_restored_and_replayed(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.set_password()
    desk.write(lambda tx: operations.discard(tx, letter, "误操作", ANN))
    assert desk.replay(letter).why.startswith("not_open")
    desk.write(lambda tx: operations.restore(tx, letter, BOB))
    assert desk.replay(letter).result == "replayed"
    with pytest.raises(Refused, match="not_discarded"):
        desk.write(lambda tx: operations.restore(tx, letter, BOB))


def test_a_dead_letter_of_an_older_import_is_not_restored(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.write(lambda tx: operations.discard(tx, letter, "等重新导入", ANN))
    desk.send("purchase.need_pay", NEED_PAY)
    with pytest.raises(Refused, match="imported_again"):
        desk.write(lambda tx: operations.restore(tx, letter, ANN))


def test_a_note_stays_with_the_dead_letter(desk: Desk) -> None:
    letter = desk.ended(Reason.PRICE_MISMATCH)
    desk.write(lambda tx: operations.note(tx, letter, "已联系代理商", ANN))
    assert desk.letter()["note"] == "已联系代理商"


@pytest.mark.parametrize(("scope", "name"), [(Scope.STAGE, "payment"), (Scope.AGENT, AGENT), (Scope.ACCOUNT, ACCOUNT)])
def test_a_pause_beats_an_intent_that_was_not_recorded_yet(desk: Desk, scope: Scope, name: str) -> None:
    desk.ready()
    attempt = desk.open_attempt()
    assert desk.write(lambda tx: operations.pause(tx, scope, name, "12306异常", ANN)) == 1
    assert desk.submit(attempt) == STOPPED
    key = work.work_key(ORDER_NO, 1, Step.PAY)
    assert desk.write(lambda tx: work.claim(tx, [key], "w", 60.0)) == []
    desk.write(lambda tx: operations.resume(tx, scope, name, "恢复", ANN))
    assert len(desk.write(lambda tx: work.claim(tx, [key], "w", 60.0))) == 1


def test_a_pause_never_stops_questions(desk: Desk) -> None:
    desk.submitted()
    desk.write(lambda tx: operations.pause(tx, Scope.STAGE, "payment", "12306异常", ANN))
    key = work.work_key(ORDER_NO, 1, Step.ASK)
    assert len(desk.write(lambda tx: work.claim(tx, [key], "w", 60.0))) == 1


def test_a_pause_is_of_something_known_and_made_once(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.pause(tx, Scope.STAGE, "paying", "x", ANN))
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.pause(tx, Scope.AGENT, "nobody", "x", ANN))
    desk.write(lambda tx: operations.pause(tx, Scope.STAGE, "payment", "维护", ANN))
    with pytest.raises(Refused, match="already_paused"):
        desk.write(lambda tx: operations.pause(tx, Scope.STAGE, "payment", "维护", ANN))
    assert [pause["reason"] for pause in desk.read(list_pauses)] == ["维护"]
    with pytest.raises(Refused, match="not_paused"):
        desk.write(lambda tx: operations.resume(tx, Scope.STAGE, "intake", "x", ANN))


def test_unblocking_forgets_refused_tries(desk: Desk) -> None:
    desk.refused_password(times=3)
    assert [row["blocked"] for row in desk.read(lambda tx: list_accounts(tx, START))] == [True]
    desk.write(lambda tx: operations.unblock(tx, ACCOUNT, ANN))
    row = desk.read(lambda tx: list_accounts(tx, START))[0]
    assert (row["blocked"], row["refused_tries"], row["refused_passwords"]) == (False, 0, 0)
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.unblock(tx, "nobody", ANN))


def test_agents_are_listed_without_anything_secret(desk: Desk) -> None:
    desk.set_password()
    desk.set_password(login=None)
    (agent,) = desk.read(list_agents)
    assert (agent["code"], agent["unified_password"], agent["accounts"]) == (AGENT, True, [ACCOUNT])
    assert not any("key" in name or "secret" in name for name in agent)


def test_an_agent_is_added_once_and_called_over_https(desk: Desk) -> None:
    public = desk.services.public
    with pytest.raises(Refused, match="agent_exists"):
        desk.write(lambda tx: operations.add_agent(tx, AGENT, "https://a.example", None, public, ANN, allow_http=False))
    with pytest.raises(Refused, match="bad_callback"):
        desk.write(lambda tx: operations.add_agent(tx, "b", "http://a.example", None, public, ANN, allow_http=False))
    with pytest.raises(Refused, match="bad_code"):
        desk.write(
            lambda tx: operations.add_agent(tx, "中文", "https://a.example", None, public, ANN, allow_http=False)
        )


def test_a_given_merchant_key_opens_as_it_was_given(desk: Desk) -> None:
    given = Secret("an invented key")
    public = desk.services.public
    new = desk.write(
        lambda tx: operations.add_agent(tx, "b", "https://b.example", given, public, ANN, allow_http=False)
    )
    stored = desk.read(lambda tx: accounts.load_agents(tx, ["b"])["b"])
    assert new.key == given
    assert desk.services.open(stored.merchant_key_sealed) == given
    assert desk.services.open(stored.webhook_secret_sealed).reveal().startswith("whsec_")


def test_money_and_passwords_need_an_agent(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.top_up_fund(tx, "nobody", 1, "x", ANN))
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.set_password(tx, "nobody", Secret("x"), desk.passwords.public, ANN))
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.set_callback(tx, "nobody", "https://a.example", ANN, allow_http=False))
    with pytest.raises(Refused, match="bad_amount"):
        desk.write(lambda tx: operations.top_up_fund(tx, AGENT, 0, "x", ANN))


def test_results_are_sent_to_am_again(desk: Desk) -> None:
    desk.requested()
    waiting = desk.read(lambda tx: results.unsent(tx, 10))
    desk.write(lambda tx: results.mark_sent(tx, [row.row_key for row in waiting]))
    assert desk.write(lambda tx: operations.resend_events(tx, ANN, order_no=ORDER_NO)) == len(waiting)
    assert desk.read(lambda tx: results.unsent(tx, 10)) == waiting
    assert desk.write(lambda tx: operations.resend_events(tx, ANN, since=START + timedelta(hours=1))) == 0


def test_the_latest_outcome_is_told_again(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)
    desk.told()
    assert desk.write(lambda tx: operations.resend_callback(tx, ORDER_NO, ANN)) == "2"
    pending = desk.read(lambda tx: callbacks.latest_pending(tx, ORDER_NO))
    assert pending is not None
    assert pending.pay_status == "2"


def test_an_older_outcome_is_not_told_again_once_the_order_was_imported_again(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)
    desk.told()
    desk.send("purchase.need_pay", NEED_PAY)
    with pytest.raises(Refused, match="live"):
        desk.write(lambda tx: operations.resend_callback(tx, ORDER_NO, ANN))
    desk.run("credentials")
    assert desk.send("purchase.confirmed", DATA["purchase.confirmed"]).result == "done"  # ends it, and tells nothing
    with pytest.raises(Refused, match="imported_again"):
        desk.write(lambda tx: operations.resend_callback(tx, ORDER_NO, ANN))
    assert desk.read(lambda tx: callbacks.latest_pending(tx, ORDER_NO)) is None


def test_what_an_agent_has_not_taken_is_found_until_it_has(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)
    assert desk.read(lambda tx: operations.untold(tx, AGENT)) == [ORDER_NO]
    desk.write(lambda tx: callbacks.exhaust(tx, [callbacks.of_orders(tx, [ORDER_NO])[-1].id]))
    assert desk.read(lambda tx: operations.untold(tx, AGENT)) == [ORDER_NO]  # given up: still not told
    desk.write(lambda tx: operations.resend_callback(tx, ORDER_NO, ANN))
    desk.told()
    assert desk.read(lambda tx: operations.untold(tx, AGENT)) == []
    with pytest.raises(NotFound):
        desk.read(lambda tx: operations.untold(tx, "nobody"))


def test_a_provisional_notification_does_not_come_forward_by_a_resend(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)
    desk.told()
    desk.send("purchase.need_pay", NEED_PAY)
    desk.run("credentials")
    desk.submit(desk.open_attempt())
    stop_at = desk.purchase().stop_at
    desk.write(lambda tx: work.bring_forward(tx, ORDER_NO, Step.TELL, urgency=stop_at, due_at=stop_at))
    with pytest.raises(Refused, match="live"):
        desk.write(lambda tx: operations.resend_callback(tx, ORDER_NO, ANN))
    (row,) = desk.read(lambda tx: work.find(tx, [work.work_key(ORDER_NO, 0, Step.TELL)]))
    assert row.due_at == stop_at


def test_money_that_waits_for_departure_is_not_stranded_by_a_discard(desk: Desk) -> None:
    desk.send("order.paid")
    desk.send("purchase.confirmed", DATA["purchase.confirmed"])
    (row,) = desk.read(lambda tx: work.find(tx, [work.work_key(ORDER_NO, 0, Step.DEPARTURE)]))
    desk.write(lambda tx: setbacks.give_up(tx, row, Reason.UNEXPECTED_ERROR, "", actor="system:settlement"))
    letter = desk.letter()["id"]
    with pytest.raises(Refused, match="still_frozen"):
        desk.write(lambda tx: operations.discard(tx, letter, "不要了", ANN))
    assert desk.letter()["state"] == "open"
    assert desk.replay(letter).result == "replayed"


def test_nothing_is_told_before_there_is_an_outcome(desk: Desk) -> None:
    desk.requested()
    with pytest.raises(Refused, match="nothing_to_tell"):
        desk.write(lambda tx: operations.resend_callback(tx, ORDER_NO, ANN))
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.resend_callback(tx, "unknown", ANN))


def test_a_task_is_taken_by_one_and_closed_with_evidence(desk: Desk) -> None:
    desk.requested()
    desk.write(lambda tx: tasks.open_task(tx, "railway_refund", ORDER_NO, "t1", "多退"))
    task = desk.read(tasks.find)[0].id
    desk.write(lambda tx: operations.take_task(tx, task, ANN))
    with pytest.raises(Refused, match="taken"):
        desk.write(lambda tx: operations.take_task(tx, task, BOB))
    desk.write(lambda tx: operations.close_task(tx, task, "已核对", "账单第9行", ANN))
    with pytest.raises(Refused, match="closed"):
        desk.write(lambda tx: operations.close_task(tx, task, "已核对", "账单第9行", BOB))
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.take_task(tx, 99, ANN))


def test_an_abnormal_is_not_closed_as_a_mere_task(desk: Desk) -> None:
    desk.abnormal()
    task = desk.read(tasks.find)[0].id
    with pytest.raises(Refused, match="close_the_order"):
        desk.write(lambda tx: operations.close_task(tx, task, "好了", "看过", ANN))


def test_after_a_restore_paying_waits_until_every_hold_was_asked_about(desk: Desk) -> None:
    desk.ready()
    attempt = desk.open_attempt()
    state = desk.write(lambda tx: operations.recover(tx, START - timedelta(hours=1), ANN))
    assert state.paying_paused_since is not None
    assert desk.submit(attempt) == STOPPED
    with pytest.raises(Refused, match="holds_open"):
        desk.write(lambda tx: operations.finish_recovery(tx, ANN))
    (task, order_no, _reason) = state.open_tasks[0]
    assert order_no == ORDER_NO
    desk.write(lambda tx: operations.close_task(tx, task, "unpaid", "12306未完成订单页", ANN))
    state = desk.write(lambda tx: operations.finish_recovery(tx, ANN))
    assert (state.paying_paused_since, state.restored_at is not None) == (None, True)
    assert desk.read(lambda tx: control.get_meta(tx, "paying_paused_since")) is None
    with pytest.raises(NotFound):
        desk.write(lambda tx: operations.finish_recovery(tx, ANN))


def test_a_recovery_begun_twice_asks_once(desk: Desk) -> None:
    desk.ready()
    since = START - timedelta(hours=1)
    desk.write(lambda tx: operations.recover(tx, since, ANN))
    assert len(desk.write(lambda tx: operations.recover(tx, since, ANN)).open_tasks) == 1
    with pytest.raises(Refused, match="bad_since"):
        desk.write(lambda tx: operations.recover(tx, START + timedelta(hours=1), ANN))
