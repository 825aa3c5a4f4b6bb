"""The order pages' API and forms: what is found, filled in and imported again, by whom, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.reasons import Reason
from pipeline.store.marks import mark
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, Answer, Browser, House, console_at
from tests.unit.message_samples import TICKET

FORM = {"ticket_no": "E700000001", "seat": "7", "seat_no": "05车02C号", "price": "413.00", "passenger": "张三"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'orders.sqlite3'}", tmp_path) as house:
        yield house


@pytest.fixture
def orders(house: House) -> Orders:
    made = Orders(house.store, AGENT, house.desk.vault_key)
    made.set_up()
    return made


def post(browser: Browser, path: str, content: Any) -> Answer:
    return browser.send_json("POST", path, content, **{"x-csrf-token": browser.csrf})


def test_the_api_fills_in_and_imports_again_for_the_agent_and_nobody_elses(house: House, orders: Orders) -> None:
    filled, again = orders.held_unpaid(), orders.held_unpaid(Reason.NOT_SENT)
    carol, dave = house.signed_in("carol"), house.signed_in("dave")
    tickets = {"tickets": [TICKET]}
    for number, act, content in ((filled, "tickets", tickets), (again, "import", {})):
        assert post(dave, f"/api/v1/orders/{number}/{act}", content).status == 404
    done = post(carol, f"/api/v1/orders/{filled}/tickets", tickets).json
    assert (done["order_state"], done["tickets"][0]["seat"]) == ("ticketed_offline", "硬卧下")
    assert post(carol, f"/api/v1/orders/{again}/import", {}).json["generation"] == 2
    assert post(carol, f"/api/v1/orders/{again}/import", {}).json["error"] == "live"
    assert post(carol, f"/api/v1/orders/{filled}/tickets", {"tickets": [{"ticket_no": "!"}]}).status == 422
    counts = carol.get("/api/v1/orders/quick").json
    assert (counts["all"], counts["waiting"], counts["failed"]) == (2, 1, 0)
    assert dave.get("/api/v1/orders/quick").json["all"] == 0
    assert dave.get(f"/api/v1/orders/quick?agent={AGENT}").json["all"] == 0


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"seat_no": "05车\x01"}, 422),
        ({"price": "-1"}, 422),
        ({"price": ""}, 422),
        ({"ticket_no": "E 7"}, 422),
        ({"seat_no": ["a", "b"]}, 409),  # more seats than tickets
        ({"ticket_no": [], "seat": [], "seat_no": [], "price": [], "passenger": []}, 409),
    ],
)
def test_a_form_that_says_no_ticket_is_refused_by_name(
    house: House, orders: Orders, changes: dict[str, Any], status: int
) -> None:
    order_no = orders.held_unpaid()
    carol = house.signed_in("carol")
    assert carol.post(f"/orders/{order_no}/tickets", FORM | changes).status == status
    assert carol.get(f"/api/v1/orders/{order_no}").json["order_state"] == "purchase_failed"


def test_an_operator_records_that_the_agent_agreed(house: House, orders: Orders) -> None:
    order_no = orders.held_unpaid(Reason.NOT_SENT)
    house.write(lambda tx: orders._tell(tx, order_no))
    bob = house.signed_in("bob")
    assert "代理商同意" in bob.get(f"/orders/{order_no}").text
    assert post(bob, f"/api/v1/orders/{order_no}/import", {}).json["error"] == "agreement_missing"
    agreed = {"agreed": "王经理 14:05 电话"}
    assert bob.post(f"/orders/{order_no}/import", agreed).goes_to == f"/orders/{order_no}"
    assert "重新导入" in bob.get("/audit-log").text


def test_no_phone_id_number_or_contact_is_shown_or_stored_twice(house: House, orders: Orders) -> None:
    phone, name, id_no = "13800001234", "欧阳不二", "110101199001011234"
    passenger = {"name": "张三", "id_type": "1", "id_no": id_no, "ticket_type": "1"}
    order_no = orders.paid(contact={"name": name, "phone": phone, "email": "o@mail.example"}, passengers=[passenger])
    bob = house.signed_in("bob")
    for path in ("/orders", f"/orders/{order_no}", "/api/v1/orders", f"/api/v1/orders/{order_no}"):
        shown = bob.get(path).text
        assert order_no in shown
        assert not [secret for secret in (phone, name, id_no, "o@mail.example") if secret in shown], path
    assert mark(phone) is not None
    assert order_no in bob.get(f"/orders?phone={phone}").text
