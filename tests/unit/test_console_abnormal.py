"""Closing a 支付完成,出票异常 on its page: with evidence, and above the limit by two persons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.operations_users import Role, add_user
from pipeline.store.acts import ActFilter, list_acts
from pipeline.store.queries import Json, show_order
from tests.unit.console_data import PRICE_FEN, Orders
from tests.unit.console_house import AGENT, CHEAP, PASSWORD, Browser, House, console_at


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


def state_of(house: House, order_no: str) -> Json:
    found: Json = house.read(lambda tx: show_order(tx, order_no))
    return found


def test_a_closing_above_the_limit_waits_for_another_supervisor(house: House, orders: Orders, bob: Browser) -> None:
    order_no = orders.abnormal()
    here = f"/abnormal/{order_no}"
    closing = {"how": "ticketed", "debited": "1,241.00", "evidence": "票号 E123, 账单第 3 行"}
    assert bob.post(f"{here}/close", closing).goes_to == here
    assert "等待复核" in bob.get(here).text
    (listed,) = bob.get("/api/v1/abnormal").json["rows"]
    assert (listed["reason"], listed["order_no"]) == ("outcome_unknown", order_no)
    assert "支付结果无法核实" in bob.get("/abnormal").text
    assert state_of(house, order_no)["state"] == "paid_abnormal"
    house.write(lambda tx: add_user(tx, "erin", Role.OPERATOR, None, CHEAP.hash(PASSWORD), "human:alice"))
    erin, alice = house.signed_in("erin"), house.signed_in("alice")
    again = erin.post(f"{here}/close", closing, referer=f"http://console.test{here}")
    assert again.goes_to == here
    assert "等待主管复核" in erin.get(here).text
    assert erin.post(f"{here}/confirm", {"how": "ticketed", "debited_fen": PRICE_FEN, "evidence": "x"}).status == 403
    seen = {"how": "ticketed", "debited_fen": PRICE_FEN - 1, "evidence": "核对了账单"}
    token = {"x-csrf-token": alice.csrf}
    assert alice.send_json("POST", f"/api/v1{here}/confirm", seen, **token).json["error"] == "changed"
    done = alice.send_json("POST", f"/api/v1{here}/confirm", seen | {"debited_fen": PRICE_FEN}, **token).json
    assert (done["done"], done["proposed_by"]) == (True, "human:bob")
    assert state_of(house, order_no)["state"] == "purchased"
    assert "复核: 核对了账单" in json.dumps(state_of(house, order_no)["story"], ensure_ascii=False)


def test_a_payment_that_nothing_here_submitted_is_booked_from_the_page_of_its_order(
    house: House, orders: Orders, bob: Browser
) -> None:
    order_no = orders.found_paid()
    here = f"/abnormal/{order_no}"
    assert "补记" in bob.get(here).text
    closing = {"how": "ticketed", "debited": "1,241.00", "evidence": "账单第 3 行"}
    assert bob.post(f"{here}/close", closing).goes_to == here
    seen = {"how": "ticketed", "debited_fen": PRICE_FEN, "evidence": "核对了账单"}
    alice = house.signed_in("alice")
    done = alice.send_json("POST", f"/api/v1{here}/confirm", seen, **{"x-csrf-token": alice.csrf}).json
    assert done["done"]
    assert state_of(house, order_no)["state"] == "purchased"
    assert "补记支付" in bob.get(f"/orders/{order_no}").text


def test_a_closing_is_sent_back_by_a_supervisor_or_taken_back_by_who_proposed_it(
    house: House, orders: Orders, bob: Browser
) -> None:
    order_no = orders.abnormal()
    here = f"/abnormal/{order_no}"
    alice = house.signed_in("alice")
    closing = {"how": "never_debited", "evidence": "账单没有"}
    alice.post(f"{here}/close", closing)
    own = alice.post(
        f"{here}/confirm",
        {"how": "never_debited", "debited_fen": 0, "evidence": "x"},
        referer="http://console.test/abnormal",
    )
    assert own.goes_to == "/abnormal"
    assert "不能复核自己提交的结案" in alice.get("/abnormal").text
    refused = bob.send_json("POST", f"/api/v1{here}/deny", {"reason": "不对"}, **{"x-csrf-token": bob.csrf})
    assert refused.json["error"] == "pending"
    assert alice.post(f"{here}/deny", {"reason": "写错了"}).goes_to == here
    bob.post(f"{here}/close", closing)
    assert alice.post(f"{here}/deny", {"reason": "凭据不足"}).goes_to == here
    assert bob.get("/api/v1/abnormal").json["rows"][0]["proposal"] is None
    acts = house.read(lambda tx: list_acts(tx, ActFilter(action="abnormal"))).rows
    assert [act["action"] for act in acts] == ["abnormal.deny", "abnormal.propose"] * 2


@pytest.mark.parametrize("debited", ["x", "-1", "1.234", "99999999999", "1e3"])
def test_an_amount_that_is_none_is_refused(orders: Orders, bob: Browser, debited: str) -> None:
    order_no = orders.abnormal()
    form = {"how": "ticketed", "debited": debited, "evidence": "票号"}
    assert bob.post(f"/abnormal/{order_no}/close", form).status == 422
