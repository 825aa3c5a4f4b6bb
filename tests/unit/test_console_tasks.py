"""Tasks on their pages, in the API and on the command line: taken, handed over, closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import operations
from pipeline.operations_errors import Refused
from pipeline.reasons import Reason
from pipeline.store import dead_letters, task_rounds, tasks
from pipeline.store.acts import ActFilter, list_acts
from pipeline.store.engine import Transaction
from pipeline.task_kinds import KINDS
from tests.unit.cli_home import Home
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, HOST, Browser, House, console_at


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


@pytest.fixture
def order_no(house: House) -> str:
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    return orders.settled()


def opened(house: House, order_no: str, kind: str = "railway_refund") -> int:
    house.write(
        lambda tx: tasks.open_task(tx, kind, order_no, f"{order_no}:{kind}", "12306退款 500 分, 超过可冲抵的 0 分")
    )
    return int(house.read(tasks.find)[-1].id)


def refused(browser: Browser, path: str, form: dict[str, str]) -> str:
    page = {"referer": f"http://{HOST}/tasks"}
    assert browser.post(path, form, **page).goes_to == "/tasks"
    said = re.search(r'class="flash refused"[^>]*>([^<]*)<', browser.get("/tasks").text)
    assert said is not None
    return said[1]


def test_a_task_is_taken_handed_over_and_closed_and_every_step_is_in_the_audit_log(house: House, order_no: str) -> None:
    task = opened(house, order_no)
    bob, alice = house.signed_in("bob"), house.signed_in("alice")
    assert "无人领取" in bob.get("/tasks").text
    assert bob.post(f"/tasks/{task}/take").goes_to == f"/tasks/{task}"
    assert "已由 human:bob 处理" in refused(alice, f"/tasks/{task}/take", {}).replace("&#39;", "'")
    bob.post(f"/tasks/{task}/hand-over", {"to": "alice", "reason": "换班"})
    page = bob.get(f"/tasks/{task}").text
    assert "已转交 alice" in page
    assert "5.00 元" in page  # no fen on screen
    alice.post(f"/tasks/{task}/close", {"resolution": "改签差额", "evidence": "账单第 9 行"})
    assert "已关闭" in alice.get(f"/tasks/{task}").text
    assert "没有符合条件的任务" in alice.get("/tasks").text
    assert "改签差额" in alice.get("/tasks?state=closed").text
    acts = house.read(lambda tx: list_acts(tx, ActFilter(action="tasks"), None))
    assert [row["action"] for row in acts.rows] == ["tasks.close", "tasks.hand_over", "tasks.take"]
    assert acts.rows[1]["reason"] == "换班"


def test_a_task_goes_only_to_people_who_may_have_it(house: House, order_no: str) -> None:
    task = opened(house, order_no)
    bob = house.signed_in("bob")
    for name in ("carol", "nobody"):
        assert "没有可以处理任务的" in refused(bob, f"/tasks/{task}/hand-over", {"to": name, "reason": "换班"})
    bob.post(f"/tasks/{task}/hand-over", {"to": "bob", "reason": "我来"})
    assert "本来就由 bob 处理" in refused(bob, f"/tasks/{task}/hand-over", {"to": "bob", "reason": "我来"})


def test_two_who_hand_over_at_once_do_not_undo_each_other(house: House, order_no: str) -> None:
    task = opened(house, order_no)
    assert house.write(lambda tx: tasks.hand_over(tx, task, None, "human:alice"))
    assert not house.write(lambda tx: tasks.hand_over(tx, task, None, "human:bob"))


@pytest.mark.parametrize(("kind", "code"), [("close_abnormal", "close_the_order"), ("in_doubt", "closes_by_itself")])
def test_what_its_outcome_closes_is_not_closed_by_hand(house: House, order_no: str, kind: str, code: str) -> None:
    task = opened(house, order_no, kind)
    with pytest.raises(Refused, match=code):
        house.write(lambda tx: operations.close_task(tx, task, "好了", "看过", "human:bob"))
    assert "关闭任务</button>" not in house.signed_in("bob").get(f"/tasks/{task}").text


def test_an_agent_that_was_never_told_is_a_task_until_the_dead_letter_is_dealt_with(
    house: House, order_no: str
) -> None:
    def give_up(tx: Transaction) -> None:
        facts = dead_letters.DeadLetterFacts(
            "notification", order_no, 1, AGENT, Reason.CALLBACK_EXHAUSTED, "500", 9, 124_100, None
        )
        dead_letters.add(tx, facts)

    house.write(give_up)
    assert [house.write(task_rounds.keep) for _ in range(2)] == [1, 0]
    (letter,) = house.read(lambda tx: dead_letters.open_of(tx, order_no))
    bob = house.signed_in("bob")
    (row,) = bob.get("/api/v1/tasks?kind=callback_exhausted").json["rows"]
    assert row["next_step"] == KINDS[row["kind"]].next_step
    house.write(lambda tx: operations.discard(tx, letter.id, "不用通知了", "human:bob"))
    house.write(task_rounds.keep)
    assert bob.get("/api/v1/tasks").json["rows"] == []
    house.write(lambda tx: operations.restore(tx, letter.id, "human:bob"))
    assert house.write(task_rounds.keep) == 1
    (row,) = bob.get("/api/v1/tasks").json["rows"]
    house.write(lambda tx: operations.close_task(tx, row["id"], "电话告知", "通话记录", "human:bob"))
    assert house.write(task_rounds.keep) == 0  # a person's word stands


def test_the_command_line_lists_with_amount_and_next_step_and_hands_over(tmp_path: Path) -> None:
    home = Home(tmp_path).ready()
    home.json("users", "add", "eve", "--role", "operator")
    with home.store() as store:
        store.write(lambda tx: tasks.open_task(tx, "railway_refund", "no-order", "t1", "多退"))
    (row,) = home.json("tasks", "list", "--free")
    assert {"id", "kind", "order_no", "amount_fen", "next_step", "taken_by", "agent"} <= set(row)
    assert home.json("tasks", "hand-over", str(row["id"]), "--to", "eve", "--reason", "值班")["taken_by"] == "human:eve"
    assert home.json("tasks", "list", "--free") == []
    assert home.call("tasks", "hand-over", str(row["id"]), "--to", "zoe", "--reason", "值班").exit_code == 4
