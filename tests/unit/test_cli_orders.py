"""`daifu orders list | quick | fill-in | import`: what the console's pages of orders offer, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import endings
from pipeline.acceptance import Limits, accept
from pipeline.reasons import Reason
from pipeline.store import orders
from pipeline.store.engine import Transaction
from schemas.am_messages import parse
from tests.unit.cli_home import Home
from tests.unit.message_samples import NEED_PAY, ORDER, ORDER_NO, TICKET, body


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """With the sample order, whose purchase failed."""
    home = Home(tmp_path / "home").ready()
    home.json("agents", "add", "xcslw", "--callback", "https://agent.example/told", stdin="an invented key\n")

    def fail(tx: Transaction) -> None:
        for kind, data in (("order.paid", ORDER), ("purchase.need_pay", NEED_PAY)):
            accept(tx, parse(body(kind, data, id=kind)), Limits(1e9, 300), origin="queue")
        purchase = orders.load_purchases(tx, [f"{ORDER_NO}:1"])[f"{ORDER_NO}:1"]
        endings.end_before_intent(tx, purchase, Reason.NOT_SENT, "", stage="payment", actor="system:payment")

    with home.store() as store:
        store.write(fail)
    return home


def test_orders_are_searched_and_counted(home: Home) -> None:
    phone = ORDER["contact"]["phone"]
    for found in (["--departs", "2014-11-29", "--train", "T7"], ["--quick", "failed"], ["--phone", phone]):
        assert [row["order_no"] for row in home.json("orders", "list", *found)] == [ORDER_NO]
    for missed in (["--departs", "2014-11-28"], ["--quick", "waiting"], ["--phone", "18600000000"]):
        assert home.json("orders", "list", *missed) == []
    assert home.json("orders", "list", "--ticket", "E000000000") == []
    counts = home.json("orders", "quick", "--agent", "xcslw")
    assert (counts["failed"], counts["waiting"], counts["all"]) == (1, 0, 1)
    assert "failed" in home.call("orders", "quick").output


def test_tickets_are_filled_in_from_a_file(home: Home) -> None:
    wrong = home.call("orders", "fill-in", ORDER_NO, "-", stdin='[{"ticket_no": "!"}]')
    assert wrong.exit_code == 2
    assert "ticket_no" in wrong.output
    tickets = json.dumps([TICKET] * len(ORDER["passengers"]))
    assert home.json("orders", "fill-in", ORDER_NO, "-", stdin=tickets)["order_state"] == "ticketed_offline"
    assert home.call("orders", "fill-in", ORDER_NO, "-", stdin=tickets).exit_code == 4
    assert home.json("orders", "list", "--ticket", TICKET["ticket_no"])[0]["order_no"] == ORDER_NO
    assert home.call("orders", "fill-in", "no-such-order", "-", stdin=tickets).exit_code == 1


def test_an_order_is_imported_again_once_its_password_is_stored(home: Home) -> None:
    assert home.call("orders", "import", ORDER_NO).exit_code == 4
    home.call("agents", "set-password", "xcslw", stdin="not a real password\n")
    assert home.json("orders", "import", ORDER_NO) == {"order_no": ORDER_NO, "generation": 2}
    assert home.call("orders", "import", ORDER_NO).exit_code == 4
