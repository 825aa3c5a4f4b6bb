"""/overview, /controls and where a pause is shown, as people see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.broker.port import Depths
from pipeline.console.audit_words import ADVICE, INVARIANTS, SEVERITIES
from pipeline.console.chart import hours_chart, scale_step
from pipeline.console.spans import span
from pipeline.reasons import Outcome
from pipeline.store import audit, audit_runs, control
from pipeline.store.audit import Broken, Report
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from tests.unit.cli_home import Home
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, HOST, House, console_at


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


@pytest.fixture
def orders(house: House) -> Orders:
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    return orders


def test_the_overview_shows_stages_breakers_pauses_and_outcomes_and_asks_for_itself_again(
    house: House, orders: Orders
) -> None:
    orders.one_of_each()
    house.write(lambda tx: control.register_worker(tx, "w1", "payment", 3600.0))
    house.write(lambda tx: control.open_breaker(tx, "railway", "系统维护中", 30.0))
    bob = house.signed_in("bob")
    bob.post("/controls/pause", {"scope": "stage", "name": "settlement", "reason": "核对账目"})
    text = bob.get("/overview").text
    for said in ("12306 断路器打开", "系统维护中", "核对账目", "每分钟完成", "还没有检查过", "data-refresh", "<svg"):
        assert said in text
    assert text.count("没有工作进程") == 3  # payment works, settlement is paused
    seen = bob.get("/api/v1/overview").json
    assert [one["upstream"] for one in seen["breakers"]] == ["railway"]
    assert seen["stages"][3]["paused"]["actor"] == "human:bob"
    assert {one["stage"]: one["workers"] for one in seen["stages"]}["payment"] == 1


def test_the_queues_are_shown_as_the_broker_counts_them_and_a_broker_that_is_away_is_said(tmp_path: Path) -> None:
    ready: dict[str, int | None] = {"daifu.intake": 12_345, "daifu.intake.dlq": 7, "daifu.payment": None}
    with console_at(f"sqlite:///{tmp_path / 'a.sqlite3'}", tmp_path, depths=Depths(ready)) as house:
        bob = house.signed_in("bob")
        text = bob.get("/overview").text
        assert "12,345" in text
        assert "死信队列 7" in text
        assert "daifu.payment" in text  # missing
        seen = bob.get("/api/v1/overview").json
        assert [one["queue"] for one in seen["stages"]] == [12_345, None, None, None, None]
        assert seen["broker"] == {"trouble": None, "missing": ["daifu.payment"]}
    away = Depths(trouble="no connection to amqp://***@mq/: Connection refused")
    with console_at(f"sqlite:///{tmp_path / 'b.sqlite3'}", tmp_path, depths=away) as house:
        answer = house.signed_in("bob").get("/overview")
        assert answer.status == 200
        assert "消息队列连不上" in answer.text
        assert "Connection refused" in answer.text


def test_what_the_audit_found_is_said_in_words_with_its_orders(house: House, orders: Orders) -> None:
    order_no = orders.settled()
    broken = Broken("one_submit_per_purchase", (order_no, "x1", "x2", "x3"), 124_100, (order_no,))
    later = Broken("an_invariant_of_a_newer_version", (), 0, ("k",))

    def ended(tx: Transaction) -> None:
        turn = audit_runs.take_turn(tx, 600.0)
        assert turn is not None
        audit_runs.end_turn(tx, turn, now(tx), 600.0, Report(ok=False, checked=audit.CHECKED, broken=(broken, later)))

    house.write(ended)
    bob = house.signed_in("bob")
    text = bob.get("/overview").text
    for said in ("2 项不符", "一次代付提交了不止一次支付", "1,241.00", order_no, "先暂停支付阶段", later.invariant):
        assert said in text
    first, _second = bob.get("/api/v1/overview").json["audit"]["findings"]
    assert (first["invariant"], first["several"], len(first["orders"])) == ("one_submit_per_purchase", 4, 3)


def test_every_invariant_of_the_audit_has_its_words() -> None:
    assert set(INVARIANTS) == set(audit.CHECKED)
    assert len(set(INVARIANTS.values())) == len(INVARIANTS)
    assert set(SEVERITIES) == set(ADVICE) == {words.severity.value for words in audit.WORDS}


def test_who_paused_what_and_why_is_shown_where_it_bites(house: House, orders: Orders) -> None:
    order_no, doubt = orders.requested(), orders.in_doubt()
    bob = house.signed_in("bob")
    bob.get("/controls")
    assert bob.post("/controls/pause", {"scope": "agent", "name": AGENT, "reason": "代理商要求"}).goes_to == "/controls"
    assert f"代理商 {AGENT} 已暂停" in bob.get("/controls").text
    for path in (f"/orders/{order_no}", "/dead-letters", "/overview", "/controls"):
        assert "代理商要求" in bob.get(path).text, path
    assert "代理商要求" not in bob.get(f"/orders/{doubt}").text  # questions go on
    told = house.signed_in("carol").get(f"/orders/{order_no}").text
    assert "已暂停" in told
    assert "代理商要求" not in told
    bob.post("/controls/resume", {"scope": "agent", "name": AGENT, "reason": "说好了"})
    assert "代理商要求" not in bob.get(f"/orders/{order_no}").text


def test_a_pause_needs_a_reason_and_something_that_there_is(house: House) -> None:
    bob = house.signed_in("bob")
    page = {"referer": f"http://{HOST}/controls"}
    assert bob.post("/controls/pause", {"scope": "stage", "name": "payment"}, **page).status in (303, 422)
    csrf = {"x-csrf-token": bob.csrf}
    asked: dict[str, Any] = {"scope": "stage", "name": "payment", "reason": "维护"}
    assert bob.send_json("POST", "/api/v1/controls/pause", {**asked, "name": "kitchen"}, **csrf).status == 404
    assert bob.send_json("POST", "/api/v1/controls/pause", asked, **csrf).json["paused"] is True
    assert bob.send_json("POST", "/api/v1/controls/pause", asked, **csrf).status == 409
    (pause,) = bob.get("/api/v1/controls").json
    assert (pause["name"], pause["reason"], pause["actor"]) == ("payment", "维护", "human:bob")
    assert bob.send_json("POST", "/api/v1/controls/resume", asked, **csrf).json["paused"] is False


def test_holds_that_end_soon_are_counted_by_how_soon(house: House, orders: Orders) -> None:
    orders.requested()
    letter = orders.held_unpaid()
    purchases = orders.purchase(letter)
    assert purchases.hold_deadline is None  # nobody looked
    seen = house.signed_in("bob").get("/api/v1/overview").json
    assert [one["purchases"] for one in seen["holds"]] == [0, 0, 1]
    house.clock.move(timedelta(minutes=16).total_seconds())
    seen = house.signed_in("bob").get("/api/v1/overview").json
    assert [one["purchases"] for one in seen["holds"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (59, "59 秒"), (60, "1 分钟"), (3600, "1 小时"), (11_100, "3 小时 5 分"), (187_200, "2 天 4 小时")],
)
def test_a_span_is_said_as_people_say_it(seconds: float | None, said: str) -> None:
    assert span(seconds) == said


def test_bars_stand_on_each_other_and_the_scale_has_few_lines() -> None:
    empty = dict.fromkeys(Outcome, 0)
    hours = [{"hour": f"2014-11-17T{hour:02d}:00:00.000+08:00", **empty} for hour in range(24)]
    assert hours_chart(hours).total == 0
    hours[3] |= {"purchased": 30, "held_unpaid": 10, "paid_abnormal": 2}
    chart = hours_chart(hours)
    bar = chart.bars[3]
    assert [part.count for part in bar.parts] == [30, 10, 2]
    assert bar.parts[0].y + bar.parts[0].height == chart.floor
    assert bar.parts[1].y + bar.parts[1].height == pytest.approx(bar.parts[0].y)
    assert bar.says == "03:00 起一小时: 采购完成 30, 占座成功未支付 10, 支付完成,出票异常 2"
    assert [value for _y, value in chart.lines] == [0, 10, 20, 30, 40, 50]
    assert [scale_step(most) for most in (0, 5, 6, 26, 100_000)] == [1, 1, 2, 10, 20_000]


def test_the_command_line_shows_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path).ready()
    home.json("pause", "stage", "payment", "--reason", "维护")
    seen = home.json("overview")
    assert seen["stages"][2]["paused"]["reason"] == "维护"
    assert [(one["scope"], one["name"], one["reason"]) for one in home.json("pauses")] == [("stage", "payment", "维护")]
    told = home.call("overview").stdout
    assert re.search(r"payment .*维护 \(human:ann", told)
    assert "last audit: none yet" in told
    assert "queues not counted: memory://" in told
    home.json("recover", "--since", "2014-11-17T00:00:00+08:00")
    assert "paying is paused since a restore" in home.call("overview").stdout
