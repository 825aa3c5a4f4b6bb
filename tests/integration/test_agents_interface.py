"""The agents' interface of running processes: the old way of working to its end, and `daifu serve` with its broker away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.home import prepare_home
from pipeline.store import migrate
from tests.integration.agents_talk import AgentsProgram
from tests.integration.pipeline_house import House, start_embedded
from tests.integration.pipeline_orders import AGENT, FARE_FEN, KEY, PASSENGERS, PRICE_FEN, Am
from tests.integration.pipeline_process import START_S, request, until
from tests.services.ports import LOOPBACK, free_ports

TOKEN = "token-of-a-test"
OK = {"ret": True}


def result(hold_no: str) -> str:
    ticket = {"ticketNo": hold_no, "seatType": "7", "seatNo": "11车04号下铺", "price": "428.00", "seq": "0"}
    return json.dumps({"count": 1, "tickets": [ticket]}, ensure_ascii=False)


@pytest.fixture(scope="module")
def am(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Am]:
    house = start_embedded(tmp_path_factory.mktemp("interface"), REPEAT_WINDOW_S="60")
    try:
        am = Am(house)
        am.add_agent()
        yield am
    finally:
        house.close()


@pytest.fixture
def agent(am: Am) -> AgentsProgram:
    return AgentsProgram(am.house.processes["up"].address("http"), AGENT, KEY)


def paid(am: Am, order_no: str, **changes: Any) -> str:
    am.send([am.event(am.order(order_no, **changes))])
    return order_no


def funds(am: Am) -> dict[str, int]:
    found: dict[str, int] = am.house.json("funds", "show", AGENT)
    return found


def test_an_order_ticketed_offline_is_unfrozen_after_its_departure(am: Am, agent: AgentsProgram) -> None:
    departs = datetime.now(UTC) + timedelta(seconds=4)
    order_no = paid(am, "offline", departure_at=departs.isoformat())
    before = funds(am)
    assert order_no in agent.orders()
    assert agent.purchase(order_no, "CONFIRM", result=result("E123456789"), comment="已出票") == OK
    assert order_no not in agent.orders()
    row = am.rows()[order_no]
    assert (row["order_state"], row["generation"], funds(am)) == ("ticketed_offline", 0, before)
    after = until("unfrozen", lambda: funds(am) if funds(am) != before else None, 20)
    assert datetime.now(UTC) >= departs
    assert after["frozen_fen"] == before["frozen_fen"] - FARE_FEN
    assert after["available_fen"] == before["available_fen"] + FARE_FEN
    assert agent.purchase(order_no, "CONFIRM", result=result("E123456789"), comment="已出票") == OK
    assert agent.purchase(order_no, "NO_TICKET", reason="1")["errCode"] == "206"
    assert agent.purchase(order_no, "NEED_PAY", un="agent_user01", pw="x")["errCode"] == "203"


@pytest.mark.parametrize("reason", [str(number) for number in range(8)])
def test_without_a_ticket_the_user_gets_all_back(am: Am, agent: AgentsProgram, reason: str) -> None:
    order_no = paid(am, f"no-ticket-{reason}")
    before = funds(am)
    people = [{"certNo": one["id_no"], "certType": "1", "name": one["name"], "reason": "1"} for one in PASSENGERS]
    fields = {"reason": reason, "passengerReason": json.dumps(people, ensure_ascii=False)}
    assert agent.purchase(order_no, "NO_TICKET", **fields, comment="无票") == OK
    assert agent.purchase(order_no, "NO_TICKET", **fields, comment="无票") == OK
    assert am.rows()[order_no]["order_state"] == "no_ticket"
    assert funds(am)["frozen_fen"] == before["frozen_fen"] - FARE_FEN
    assert funds(am)["available_fen"] == before["available_fen"]
    (back,) = [line for line in am.show(order_no)["postings"] if line["from"] == "frozen"]
    assert (back["to"], back["amount_fen"]) == ("user", FARE_FEN)


def test_a_need_pay_by_http_is_paid_told_and_can_be_told_again(am: Am, agent: AgentsProgram) -> None:
    bought = am.buy("by-http")
    paid(am, bought.order_no)
    fields = {"un": bought.account, "pw": bought.password, "comment": "代付请求"}
    assert agent.purchase(bought.order_no, "NEED_PAY", **fields) == OK
    assert not written_anywhere(am, bought.password)
    am.wait_ended([bought.order_no])
    assert am.told(bought) == ["1"]
    assert agent.purchase(bought.order_no, "NEED_PAY", **fields)["errCode"] == "008"
    assert agent.go_pay(bought.order_no, "1241.0", bought.account)["errCode"] == "008"
    assert agent.purchase(bought.order_no, "CONFIRM", result=result(bought.hold_no), un=bought.account) == OK
    assert agent.purchase(bought.order_no, "NO_TICKET", reason="0")["errCode"] == "206"
    assert am.rows()[bought.order_no]["paid_fen"] == PRICE_FEN
    am.house.json("callbacks", "resend", bought.order_no)
    until("told again", lambda: len(am.told(bought)) == 2, 20)
    ids = {line["webhook_id"] for line in am.lines_of(bought, "callback")}
    assert len(ids) == 1
    tried = am.house.json("callbacks", "test", AGENT)
    assert tried["delivered"] is True


def test_a_repeat_after_an_unpaid_end_starts_nothing_until_its_window_is_over(am: Am, agent: AgentsProgram) -> None:
    bought = am.buy("repeated", "wrong_password")
    paid(am, bought.order_no)
    fields = {"un": bought.account, "pw": bought.password}
    assert agent.purchase(bought.order_no, "NEED_PAY", **fields) == OK
    am.wait_ended([bought.order_no])
    for _ in range(5):
        assert agent.purchase(bought.order_no, "NEED_PAY", **fields) == OK
    assert am.rows()[bought.order_no]["generation"] == 1
    assert agent.purchase(bought.order_no, "NEED_PAY", un=bought.account, pw="the right one at last") == OK
    assert am.rows()[bought.order_no]["generation"] == 2


def test_a_price_that_differs_is_found_by_the_look(am: Am, agent: AgentsProgram) -> None:
    bought = am.buy("other-price")
    paid(am, bought.order_no)
    am.house.json("agents", "set-password", AGENT, "--account", bought.account, stdin=bought.password)
    assert agent.go_pay(bought.order_no, "1240.0", bought.account) == OK
    am.wait_ended([bought.order_no])
    assert am.rows()[bought.order_no]["reason"] == "price_mismatch"


def test_an_open_refund_request_is_listed_and_stops_a_payment(am: Am, agent: AgentsProgram) -> None:
    order_no = paid(am, "refund-asked")
    moment = datetime.now(UTC).isoformat()
    send(am, "refund.requested", {"order_no": order_no, "agent": AGENT, "requested_at": moment})
    assert order_no in agent.orders("APPLY_REFUND")
    assert order_no not in agent.orders()
    assert agent.purchase(order_no, "NEED_PAY", un="agent_user01", pw="x")["errCode"] == "207"
    send(am, "refund.closed", {"order_no": order_no, "agent": AGENT, "granted": True})
    assert agent.orders("APPLY_REFUND") == {}
    assert am.rows()[order_no]["order_state"] == "refunded"


def written_anywhere(am: Am, secret: str) -> list[str]:
    """The files of this house that hold a text, but for what the sandbox keeps of its own."""
    places = [am.house.folder, am.house.settings.home]
    files = {file for place in places for file in place.rglob("*") if file.is_file() and "sandbox" not in file.name}
    return [str(file) for file in files if secret.encode() in file.read_bytes()]


def send(am: Am, kind: str, data: dict[str, Any]) -> None:
    event = {
        "specversion": "1.0",
        "id": f"{kind}:{data['order_no']}",
        "source": "am",
        "type": kind,
        "time": datetime.now(UTC).isoformat(),
        "data": data,
    }
    assert all(row["accepted"] for row in am.house.json("publish", "-", stdin=json.dumps(event)))


def test_requests_are_accepted_while_the_broker_is_away(tmp_path: Path, fresh_database: str) -> None:
    """`daifu serve` alone, on PostgreSQL, with nobody at the broker's address."""
    nobody, port = free_ports(2)
    own = {"BROKER_URL": f"amqp://guest:guest@{LOOPBACK}:{nobody}/", "DATABASE_URL": fresh_database}
    house = House(tmp_path, HTTP_LISTEN=f"{LOOPBACK}:{port}", AM_TOKEN=TOKEN, CALLBACK_ALLOW_HTTP="true", **own)
    prepare_home(house.settings)
    migrate.upgrade(house.settings.database)
    try:
        serve = house.start("serve", "serve")
        until("serve is ready", serve.ready, START_S)
        am = Am(house)
        house.json("agents", "add", AGENT, "--callback", "https://agent.example/callback", stdin=KEY)
        event = am.event(am.order("brokerless"))
        status, answer = request(
            f"{serve.address('http')}/am/messages",
            "POST",
            json.loads(event.to_bytes()),
            {"Authorization": f"Bearer {TOKEN}"},
        )
        assert status == 202, answer
        agent = AgentsProgram(serve.address("http"), AGENT, KEY)
        assert list(agent.orders()) == ["brokerless"]
        fields = {"un": "agent_user01", "pw": "invented-password"}
        for _ in range(3):
            assert agent.purchase("brokerless", "NEED_PAY", **fields) == OK
        row = am.rows()["brokerless"]
        assert (row["state"], row["generation"]) == ("accepted", 1)
        assert agent.orders() == {}
        assert serve.terminate() == 0
        assert "invented-password" not in house.logs()
        assert "Traceback" not in house.logs()
    finally:
        house.close()
