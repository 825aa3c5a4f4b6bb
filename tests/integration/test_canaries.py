"""Canary secrets sent down every path; afterwards none is found in any queue, dead letter, table, log, metric or output.

RabbitMQ and PostgreSQL only: the embedded default runs the same code on one file, and has no queues to look into.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pika
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from pipeline.broker.topology import EVENTS, EXCHANGE
from pipeline.vault import KeyRing
from producers.sdk_events import EventMaker
from tests.integration.pipeline_endings import ENDINGS, paid
from tests.integration.pipeline_house import start_on
from tests.integration.pipeline_orders import AGENT, PASSENGERS, Am, Bought
from tests.integration.pipeline_process import request, until
from tests.services.broker import RabbitmqNode
from tests.services.ports import LOOPBACK, free_ports

SPY: Final = "canary-spy"
TIMES: Final = {"CALLBACK_SCHEDULE_S": "0.2", "NEED_PAY_PASSWORD_PARAM": "pw"}
READING: Final = (
    ("orders", "list"), ("dead-letters", "list"), ("agents", "list"), ("accounts", "list"), ("tasks", "list"),
    ("settings",), ("audit",), ("topology", "check"), ("doctor",), ("funds", "show", AGENT),
)  # fmt: skip


def canary(name: str) -> str:
    """Invented, and found nowhere by chance."""
    return f"canary-{name}-{secrets.token_hex(8)}"


@dataclass
class Flight:
    """What was sent, and everything that was found lying around afterwards, by place."""

    am: Am
    secrets: dict[str, str]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    bought: dict[str, Bought] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def flight(broker: RabbitmqNode, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flight]:
    vhost = broker.create_vhost()
    canaries = {name: canary(name) for name in ("message", "account", "unified", "wrong", "poison", "key", "token")}
    (port,) = free_ports(1)
    own = {"AM_TOKEN": canaries["token"], "HTTP_LISTEN": f"{LOOPBACK}:{port}", **TIMES}
    folder = tmp_path_factory.mktemp("canaries")
    house = start_on(folder, broker.url(vhost), module_database, 1, **own)
    try:
        serve = house.start("serve", "serve")
        until("serve is ready", serve.ready)
        flight = Flight(Am(house), canaries)
        bodies = fly(flight)
        collect(flight, folder, bodies)
        yield flight
    finally:
        house.close()
        broker.delete_vhost(vhost)


def fly(flight: Flight) -> list[bytes]:
    """Send every kind of secret down every path; returns the bodies that no pipeline can help having been sent."""
    am, own = flight.am, flight.secrets
    listen_in(am)
    am.add_agent(key=own["key"])
    am.house.json("agents", "set-password", AGENT, stdin=own["unified"])
    paths = {"message": "ok", "account": "ok", "unified": "ok", "wrong": "wrong_password", "door": "error_paid"}
    for name, behaviour in paths.items():
        password = own.get(name, own["message"])
        account = f"{name}@example.com"
        hold = am.hold(account, password, behaviour)
        flight.bought[name] = Bought(f"{AGENT}-canary-{name}", hold, account, password)
    for name in ("refuse", "takes_other_amount"):
        account = f"{name}@example.com"
        flight.bought[name] = Bought(
            f"{AGENT}-canary-{name}", am.hold(account, own["message"], name), account, own["message"]
        )
    bought = flight.bought
    am.house.json("agents", "set-password", AGENT, "--account", bought["account"].account, stdin=own["account"])
    am.send_orders([bought[name] for name in ("message", "wrong", "refuse", "takes_other_amount")])
    for name in ("account", "unified"):
        am.send(am.messages(bought[name], password=None))
    by_the_door(am, bought["door"], own["token"])
    bodies = poison(am, bought["message"], own)
    foreign(am)
    flight.rows = am.wait_ended([one.order_no for one in bought.values()])
    until("the poison", lambda: len(am.house.json("dead-letters", "list", "--reason", "poison")) == len(bodies), 20)
    until("the unopenable password failed", lambda: "call_failed" in am.house.logs(), 20)
    return bodies


def listen_in(am: Am) -> None:
    """A queue of our own that gets a copy of all that both exchanges ever see."""
    with_spy = pika.BlockingConnection(pika.URLParameters(am.house.settings.broker_url))
    channel = with_spy.channel()
    channel.queue_declare(SPY, durable=True)
    for exchange in (EXCHANGE, EVENTS):
        channel.queue_bind(SPY, exchange, "#")
    with_spy.close()


def by_the_door(am: Am, one: Bought, token: str) -> None:
    """The AM HTTP door, with the right token and with a wrong one."""
    url = f"http://{am.house.settings.http_listen}/am/messages"
    body = [json.loads(event.to_bytes()) for event in am.messages(one)]
    assert request(url, "POST", body, {"Authorization": f"Bearer {token}"})[0] == 202
    assert request(url, "POST", body, {"Authorization": f"Bearer {token[:-1]}"})[0] == 401


def poison(am: Am, like: Bought, own: dict[str, str]) -> list[bytes]:
    """Messages that put a password in clear where none belongs."""
    event = json.loads(am.need_pay(like).to_bytes())
    secret = own["poison"]
    wrong: tuple[dict[str, Any], ...] = (
        {"password_sealed": secret},
        {"password": secret, "price_fen": secret},
        {"account": {"pw": secret}},
    )
    changed = [{**event, "id": canary("id"), "data": {**event["data"], **changes}} for changes in wrong]
    bodies = [json.dumps(one).encode() for one in changed]
    bodies.append(f'{{"password": "{secret}", '.encode())
    connection = pika.BlockingConnection(pika.URLParameters(am.house.settings.broker_url))
    channel = connection.channel()
    for body in bodies:
        channel.basic_publish(EXCHANGE, "purchase.need_pay", body)
    connection.close()
    return bodies


def foreign(am: Am) -> None:
    """A password sealed for another vault: the payment worker can't open it, and says so with a traceback."""
    one = am.buy(f"{AGENT}-canary-foreign")
    stranger = EventMaker(KeyRing.generate().public)
    request_for_it = stranger.need_pay(
        order_no=one.order_no, agent=AGENT, account=one.account, password=one.password, held_order_no=one.hold_no
    )
    am.send([am.event(am.order(one.order_no)), request_for_it])


def collect(flight: Flight, folder: Path, sent: list[bytes]) -> None:
    house, places = flight.am.house, flight.places
    for command in READING:
        done = house.cli(*command, "--json")
        places[f"daifu {' '.join(command)}"] = done.stdout + done.stderr
    for number in flight.rows:
        places[f"daifu orders show {number}"] = json.dumps(flight.am.show(number), ensure_ascii=False)
    for letter in house.json("dead-letters", "list"):
        done = house.cli("dead-letters", "show", str(letter["id"]), "--json")
        places[f"daifu dead-letters show {letter['id']}"] = done.stdout + done.stderr
        replayed = house.cli("dead-letters", "replay", str(letter["id"]), "--dry-run", "--json")
        places[f"daifu dead-letters replay {letter['id']}"] = replayed.stdout + replayed.stderr
    for name, process in house.processes.items():
        if name != "sandbox":
            places[f"metrics of {name}"] = str(process.health("/metrics")[1])
    places["the sandbox's journal"] = json.dumps(flight.am.journal(), ensure_ascii=False)
    places["logs"] = house.logs()
    places["tables"] = tables(house.settings.database)
    places["queues"] = "\n".join(overheard(house.settings.broker_url, sent))


def tables(url: str) -> str:
    """Every row of every table as text."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        texts = [
            str(row[0])
            for (name,) in names
            for row in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name)))
        ]
    assert len(texts) > len(names)
    return "\n".join(texts)


def overheard(url: str, sent: list[bytes]) -> list[str]:
    """All messages that passed, with their properties, without the poison that this file sent itself."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    messages = []
    while True:
        method, properties, body = channel.basic_get(SPY, auto_ack=True)
        if method is None:
            break
        if body not in sent:
            messages.append(f"{method} {properties} {body.decode(errors='replace')}")
    connection.close()
    assert len(messages) > len(sent)
    return messages


def test_every_path_was_really_taken(flight: Flight) -> None:
    endings = {"wrong": ENDINGS["wrong_password"], "refuse": ENDINGS["refuse"]}
    endings["takes_other_amount"] = ENDINGS["takes_other_amount"]
    for name, one in flight.bought.items():
        flight.am.check(one, endings.get(name, paid()), flight.rows[one.order_no])
    sources = {
        name: line["detail"]["source"]
        for name in ("message", "account", "unified")
        for line in flight.am.show(flight.bought[name].order_no)["story"]
        if line["what"] == "credentials_found"
    }
    assert sources == {"message": "message", "account": "account", "unified": "unified"}
    reasons = {letter["reason"] for letter in flight.am.house.json("dead-letters", "list")}
    assert reasons >= {"poison", "wrong_password", "pay_refused", "amount_differs"}
    assert all(text for text in flight.places.values())


@pytest.mark.parametrize("name", ["message", "account", "unified", "wrong", "poison", "key", "token"])
def test_no_secret_is_found_anywhere(flight: Flight, name: str) -> None:
    found = [place for place, text in flight.places.items() if flight.secrets[name] in text]
    assert not found


def test_a_poison_letter_names_the_field_and_not_its_value(flight: Flight) -> None:
    details = [letter["detail"] for letter in flight.am.house.json("dead-letters", "list", "--reason", "poison")]
    for named in ("password_sealed", "price_fen", "account"):
        assert any(named in detail for detail in details), details


def test_no_id_number_is_in_a_log_or_a_metric(flight: Flight) -> None:
    watched = {place: text for place, text in flight.places.items() if place == "logs" or place.startswith("metrics")}
    for person in PASSENGERS:
        assert not [place for place, text in watched.items() if person["id_no"] in text]


def test_the_sandbox_keeps_no_password_on_disk(flight: Flight) -> None:
    text = flight.am.house.sandbox_journal.read_text("utf-8")
    assert not [name for name, secret in flight.secrets.items() if name != "key" and secret in text]
