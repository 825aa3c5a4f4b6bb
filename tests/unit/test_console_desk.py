"""The dead-letter desk's pages and API: found, tried dry, replayed, discarded, mended, exported; closings by two persons."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from pipeline import operations
from pipeline.reasons import Reason
from pipeline.store import dead_letters
from pipeline.store.acts import ActFilter, list_acts
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.queries import Json, show_order
from pipeline.store.queries_letters import LetterFilter, groups_of_letters, list_letters
from pipeline.vault import KeyRing
from tests.unit import message_samples
from tests.unit.console_data import PRICE_FEN, Orders
from tests.unit.console_house import AGENT, Browser, House, console_at

HOLD_GONE, BAD_PASSWORD, NOT_SENT = Reason.HOLD_EXPIRED, Reason.WRONG_PASSWORD, Reason.NOT_SENT


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}", tmp_path, four_eyes_fen=100_000) as house:
        yield house


@pytest.fixture
def orders(house: House) -> Orders:
    made = Orders(house.store, AGENT, house.desk.vault_key)
    made.set_up()
    return made


@pytest.fixture
def bob(house: House) -> Browser:
    return house.signed_in("bob")


def facts_of(number: int) -> DeadLetterFacts:
    return DeadLetterFacts(
        stage="payment", order_no=f"xcslw{number:06d}", generation=1, agent=AGENT, reason=NOT_SENT, detail="",
        attempts=0, amount_fen=100, deadline=None,
    )  # fmt: skip


def letter_of(house: House, order_no: str) -> Json:
    (found,) = house.read(lambda tx: list_letters(tx, LetterFilter(text=order_no, state=None)))
    one: Json = found
    return one


def state_of(house: House, order_no: str) -> Json:
    found: Json = house.read(lambda tx: show_order(tx, order_no))
    return found


def undecodable(house: House, data: Json, **attributes: Any) -> int:
    """What intake keeps of a message that it can't read; the letter's id."""
    body = message_samples.body("order.paid", message_samples.ORDER | data, **attributes)
    row = {"uid": "raw", "stage": "intake", "reason": "poison", "detail": "data.trip", "attempts": 1, "state": "open"}
    times = {"first_at": house.clock.now(), "last_at": house.clock.now()}
    sealed = house.desk.service_keys.public.seal(body)
    house.write(lambda tx: dead_letters.add_raw(tx, [row | times | {"body_sealed": sealed}]))
    return int(house.read(lambda tx: list_letters(tx, LetterFilter(reason="poison")))[0]["id"])


def test_groups_show_count_sum_and_nearest_deadline(house: House, orders: Orders, bob: Browser) -> None:
    for reason in (NOT_SENT, NOT_SENT, HOLD_GONE):
        orders.held_unpaid(reason)
    page = bob.get("/dead-letters").text
    assert "支付未发出" in page
    assert "2,482.00" in page
    groups = bob.get("/api/v1/dead-letters/groups").json
    assert [(one["reason"], one["letters"], one["amount_fen"]) for one in groups] == [
        ("not_sent", 2, 2 * PRICE_FEN),
        ("hold_expired", 1, PRICE_FEN),
    ]


def test_filters_find_by_order_hold_time_state_and_what_failed_again(
    house: House, orders: Orders, bob: Browser
) -> None:
    first, second = orders.held_unpaid(NOT_SENT), orders.held_unpaid(HOLD_GONE)
    hold = state_of(house, second)["held_order_no"]
    one = letter_of(house, first)
    house.write(lambda tx: operations.discard(tx, letter_of(house, second)["id"], "不要了", "human:ann"))

    def found(query: str) -> list[str]:
        return [row["order_no"] for row in bob.get(f"/api/v1/dead-letters?{query}").json["rows"]]

    assert found("") == [first]
    assert found("state=all") == [second, first]
    assert found(f"state=all&text={hold.lower()}") == [second]
    assert found(f"state=discarded&text={first[:8]}") == [second]
    assert found("agent=other&state=all") == []
    assert found("stage=payment&reason=not_sent") == [first]
    later = one["last_at"][:19].replace("2014", "2015")
    assert found(f"state=all&last_since={later[:4]}-01-01T00:00") == [second, first]
    assert found("state=all&first_until=2001-01-01T00:00") == []
    assert found("failed_again=true") == []
    assert house.write(lambda tx: operations.replay(tx, one["id"], "human:ann", house.desk.replay_rules))
    orders.end(first, NOT_SENT)
    assert found("failed_again=true") == [first]
    assert "再次失败" in bob.get("/dead-letters").text


def test_a_long_list_is_read_page_by_page_without_a_gap(house: House, bob: Browser) -> None:
    facts = [facts_of(n) for n in range(120)]
    house.write(lambda tx: dead_letters.add_all(tx, facts))
    seen: list[int] = []
    cursor = ""
    while cursor is not None:
        answer = bob.get(f"/api/v1/dead-letters?cursor={cursor}").json
        seen += [row["id"] for row in answer["rows"]]
        cursor = answer["next"]
    assert len(seen) == len(set(seen)) == 120


def test_the_list_of_ten_thousand_takes_as_many_statements_as_that_of_ten(house: House, bob: Browser) -> None:
    def fill(first: int, count: int) -> None:
        facts = [facts_of(n) for n in range(first, first + count)]
        house.write(lambda tx: dead_letters.add_all(tx, facts))

    counted: list[str] = []
    event.listen(house.store.engine, "before_cursor_execute", lambda *given: counted.append(given[2]))
    counts = []
    for first, count in ((0, 10), (10, 9_990)):
        fill(first, count)
        counted.clear()
        page = bob.get("/dead-letters?reason=not_sent&stage=payment")
        counts.append(len(counted))
        assert page.status == 200
        assert page.text.count('name="ids"') == min(50, first + count)
    assert counts[0] == counts[1]
    assert "10,000" in page.text
    for statement in counted:
        if "dead_letters" in statement:
            assert any(word in statement for word in ("LIMIT", "count(")), statement


def test_one_page_says_what_a_replay_would_do_or_why_not_in_words(house: House, orders: Orders, bob: Browser) -> None:
    good, gone = orders.held_unpaid(NOT_SENT), orders.held_unpaid(HOLD_GONE)
    page = bob.get(f"/dead-letters/{letter_of(house, good)['id']}").text
    assert "可以重放" in page
    assert "重新导入: 开始第 2 次代付" in page
    refused = bob.get(f"/dead-letters/{letter_of(house, gone)['id']}").text
    assert "不能重放" in refused
    assert "占座已过支付期限: 不能重放, 需重新占座或无需处理" in refused
    assert "hold_expired" not in refused
    assert "0000****0000" not in page
    assert "000000190001010000" not in page  # the passenger's ID number
    assert "000****0000" in page


def test_one_is_replayed_from_its_page_and_its_api(house: House, orders: Orders, bob: Browser) -> None:
    first, second = orders.held_unpaid(NOT_SENT), orders.held_unpaid(HOLD_GONE)
    number = letter_of(house, first)["id"]
    assert bob.post(f"/dead-letters/{number}/replay").goes_to == f"/dead-letters/{number}"
    assert "已重放" in bob.get(f"/dead-letters/{number}").text
    assert state_of(house, first)["generation"] == 2
    other = letter_of(house, second)["id"]
    answer = bob.send_json("POST", f"/api/v1/dead-letters/{other}/replay", {}, **{"x-csrf-token": bob.csrf})
    assert answer.json["result"] == "refused"
    acts = house.read(lambda tx: list_acts(tx, ActFilter(action="dead_letters.replay"))).rows
    assert [(act["actor"], act["role"], act["result"]) for act in acts] == [
        ("human:bob", "operator", "refused"),
        ("human:bob", "operator", "replayed"),
    ]


def test_ticked_ones_are_tried_dry_at_once_and_a_job_is_started_and_stopped(
    house: House, orders: Orders, bob: Browser
) -> None:
    numbers = [letter_of(house, orders.held_unpaid(reason))["id"] for reason in (NOT_SENT, NOT_SENT, HOLD_GONE)]
    path = bob.post("/dead-letters/replays", {"ids": numbers}).goes_to
    page = bob.get(path).text
    assert "试算完成" in page
    assert "开始重放 2 条" in page
    assert bob.post(f"{path}/start", {"rate": "0.5"}).goes_to == path
    assert "重放中" in bob.get(path).text
    assert bob.post(f"{path}/stop").goes_to == path
    assert "已停止" in bob.get(path).text
    api = bob.get(f"/api/v1{path}/items?result=left").json
    assert [one["id"] for one in api["rows"]] == numbers[:2]
    assert bob.get("/api/v1/dead-letters/replays").json["rows"][0]["left_alone"] == 2


def test_all_that_a_filter_finds_is_one_job(house: House, orders: Orders, bob: Browser) -> None:
    for reason in (NOT_SENT, NOT_SENT, HOLD_GONE):
        orders.held_unpaid(reason)
    form = {"all_found": "true", "reason": "not_sent", "stage": "payment"}
    path = bob.post("/dead-letters/replays", form).goes_to
    assert bob.get(f"/api/v1{path}").json["total"] == 2
    nothing = bob.post("/dead-letters/replays", {}, referer="http://console.test/dead-letters")
    assert nothing.goes_to == "/dead-letters"
    assert "没有选择死信" in bob.get("/dead-letters").text


def test_ticked_ones_are_discarded_each_by_itself(house: House, orders: Orders, bob: Browser) -> None:
    good = letter_of(house, orders.held_unpaid(NOT_SENT))["id"]
    doubtful = letter_of(house, orders.abnormal())["id"]
    bob.post("/dead-letters/discard", {"ids": [good, doubtful], "reason": "代理商放弃"})
    page = bob.get("/dead-letters").text
    assert "已丢弃 1 条" in page
    assert "支付已提交或钱已动" in page
    assert bob.get(f"/api/v1/dead-letters/{good}").json["state"] == "discarded"
    bob.post(f"/dead-letters/{good}/restore")
    bob.post(f"/dead-letters/{good}/note", {"note": "等代理商回电"})
    one = bob.get(f"/api/v1/dead-letters/{good}").json
    assert (one["state"], one["note"]) == ("open", "等代理商回电")


def test_an_export_holds_every_row_and_no_formula(house: House, orders: Orders, bob: Browser) -> None:
    for _ in range(3):
        number = letter_of(house, orders.held_unpaid(NOT_SENT))["id"]
    house.write(lambda tx: operations.note(tx, number, "=cmd|' /C calc'!A0", "human:ann"))
    answer = bob.get("/dead-letters/export.csv?reason=not_sent")
    assert answer.header("content-disposition") == 'attachment; filename="dead-letters.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert len(rows) == 3
    assert sorted(row["note"] for row in rows)[-1] == "'=cmd|' /C calc'!A0"
    assert len(bob.get("/dead-letters/export.json").json) == 3
    assert bob.get("/dead-letters/export.json?agent=nobody").json == []


def test_an_unreadable_message_is_mended_shown_and_accepted(house: House, bob: Browser) -> None:
    number = undecodable(house, {"trip": "simple"})
    text = bob.get(f"/api/v1/dead-letters/{number}/raw").json["text"]
    assert "000000190001010000" not in text
    wrong = bob.post(f"/dead-letters/{number}/raw", {"text": text.replace('"simple"', '"double"'), "act": "check"})
    assert (wrong.status, "修改后的消息仍无法识别" in wrong.text) == (409, True)
    fixed = bob.post(f"/dead-letters/{number}/raw", {"text": text.replace("128400", "1"), "act": "check"})
    assert "data.fare_fen" in fixed.text
    assert "不能修改" in fixed.text
    good = text.replace('"simple"', '"single"')
    shown = bob.post(f"/dead-letters/{number}/raw", {"text": good, "act": "check"}).text
    assert "<del>simple</del>" in shown
    assert "<ins>single</ins>" in shown
    assert bob.get(f"/api/v1/dead-letters/{number}").json["state"] == "open"
    assert bob.post(f"/dead-letters/{number}/raw", {"text": good, "act": "replay"}).goes_to == f"/dead-letters/{number}"
    order = house.read(lambda tx: operations.find_letter(tx, number))
    assert order.state == "replayed"
    assert state_of(house, message_samples.ORDER_NO)["order_state"] == "paid"
    (act,) = house.read(lambda tx: list_acts(tx, ActFilter(action="dead_letters.replay"))).rows
    assert act["detail"]["edited"] == {"data.trip": {"before": "simple", "after": "single"}}


def test_without_its_key_an_unreadable_message_stays_closed(house: House, bob: Browser) -> None:
    row = {"uid": "raw", "stage": "intake", "reason": "poison", "detail": "x", "attempts": 1, "state": "open"}
    times = {"first_at": house.clock.now(), "last_at": house.clock.now()}
    sealed = KeyRing.generate().public.seal(b"{}")
    house.write(lambda tx: dead_letters.add_raw(tx, [row | times | {"body_sealed": sealed}]))
    answer = bob.get("/api/v1/dead-letters/1/raw")
    assert (answer.status, answer.json["error"]) == (409, "key_missing")


def test_groups_of_a_filter_are_those_of_its_letters(house: House, orders: Orders) -> None:
    orders.held_unpaid(NOT_SENT)
    orders.held_unpaid(BAD_PASSWORD)
    groups = house.read(lambda tx: groups_of_letters(tx, LetterFilter(reason="wrong_password")))
    assert [(one["reason"], one["replay"]) for one in groups] == [("wrong_password", "after_account")]
