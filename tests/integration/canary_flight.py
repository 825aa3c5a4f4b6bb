"""A canary of every kind of secret, sent down every path of a running pipeline, and all that was found lying around afterwards."""

from __future__ import annotations

import base64
import json
import os
import signal
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pika

from pipeline.broker.topology import EVENTS, EXCHANGE
from pipeline.store import sealed
from pipeline.vault import KeyRing
from producers.sdk_events import EventMaker
from tests.integration.broker_talk import publish_raw
from tests.integration.canaries import Visitor, canary, command_lines, tables
from tests.integration.pipeline_orders import AGENT, Am, Bought
from tests.integration.pipeline_process import request, until

SPY: Final = "canary-spy"
TIMES: Final = {"CALLBACK_SCHEDULE_S": "0.2", "NEED_PAY_PASSWORD_PARAM": "pw", "LOG_LEVEL": "debug"}
READING: Final = (
    ("orders", "list"), ("dead-letters", "list"), ("agents", "list"), ("accounts", "list"), ("tasks", "list"),
    ("settings",), ("audit",), ("topology", "check"), ("doctor",), ("funds", "show", AGENT), ("users", "list"),
    ("overview",), ("audit-log",),
)  # fmt: skip
FOR_PEOPLE: Final = (("settings",), ("doctor",), ("dead-letters", "list"), ("agents", "list"))
#: What an operator types in and is printed once, on purpose: not places of this search.
GIVEN_OUT: Final = "callback-address", "webhook"
#: 12306 passwords by the way they take; a console password; an AM token, which is a header and so plain ASCII.
KINDS: Final = ("message", "account", "unified", "wrong", "mended", "poison", "key", "new-key", "console")
PAGES: Final = (
    "/orders", "/statistics", "/dead-letters", "/abnormal", "/tasks", "/overview", "/controls", "/funds", "/reconciliation",
    "/reports/sales", "/users", "/audit-log", "/account", f"/settings/payment?agent={AGENT}",
)  # fmt: skip


@dataclass
class Flight:
    """What was sent, and everything that was found lying around afterwards, by place."""

    am: Am
    secrets: dict[str, str | bytes]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    bought: dict[str, Bought] = field(default_factory=dict)
    places: dict[str, bytes] = field(default_factory=dict)
    old_keys: dict[sealed.Ring, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        secret = self.secrets[name]
        assert isinstance(secret, str)
        return secret


def fly(flight: Flight) -> list[bytes]:
    """Send every kind of secret down every path; returns the bodies that no pipeline can help having been sent."""
    am, house = flight.am, flight.am.house
    listen_in(am)
    enter(flight)
    message = flight.text("message")
    paths = {"message": "ok", "account": "ok", "unified": "ok", "wrong": "wrong_password", "door": "error_paid"}
    paths |= {"refuse": "refuse", "takes_other_amount": "takes_other_amount", "crashed": "late_pay"}
    for name, behaviour in paths.items():
        password, account = str(flight.secrets.get(name, message)), f"{name}@example.com"
        hold = am.hold(account, password, behaviour)
        flight.bought[name] = Bought(f"{AGENT}-canary-{name}", hold, account, password)
    bought = flight.bought
    account = bought["account"].account
    house.json("agents", "set-password", AGENT, "--account", account, stdin=flight.text("account"))
    am.send_orders([bought[name] for name in ("message", "wrong", "refuse", "takes_other_amount")])
    for name in ("account", "unified"):
        am.send(am.messages(bought[name], password=None))
    by_the_door(am, bought["door"], flight.text("token"))
    rotate_in_flight(flight)
    bodies = poison(am, bought["message"], flight.text("poison"))
    foreign(am)
    flight.rows = am.wait_ended([one.order_no for name, one in bought.items() if name != "crashed"], 120)
    crash(flight)
    until("the poison", lambda: len(letters(am, "poison")) == len(bodies), 30)
    until("the unopenable password failed", lambda: "call_failed" in house.logs(), 30)
    replay(flight)
    return bodies


def enter(flight: Flight) -> None:
    """The agent with its key, address and password, a new key a moment later, and a person at the console."""
    am, house, own = flight.am, flight.am.house, flight.secrets
    added = am.add_agent(key=flight.text("key"))
    own["webhook"] = added["webhook_secret"].removeprefix("whsec_")
    address = f"{house.sandbox_url}/sandbox/agents/{AGENT}/callback?secret={flight.text('callback-address')}"
    house.json("agents", "set-callback", AGENT, address)
    house.json("agents", "set-password", AGENT, stdin=flight.text("unified"))
    house.json("agents", "change-key", AGENT, stdin=flight.text("new-key"))
    am.tell_agent(AGENT, answer="ok", key=own["new-key"])
    house.json("users", "add", "anna", "--role", "supervisor", stdin=flight.text("console"))
    for name, password in (("broker", house.settings.broker_url), ("database", house.settings.database)):
        own[name] = unquote(urlsplit(password).password or "")
    for ring in (house.settings.vault_path, house.settings.service_keys_path):
        (key,) = json.loads(ring.read_text())["keys"]
        own[f"private key of {ring.name}"] = base64.urlsafe_b64decode(key["private_key"] + "=")


def rotate_in_flight(flight: Flight) -> None:
    """Both rings, while purchases are being paid; everything sealed is closed anew, beside the workers."""
    house = flight.am.house
    flight.old_keys = {
        "passwords": KeyRing.load(house.settings.vault_path).public.key_id,
        "services": KeyRing.load(house.settings.service_keys_path).public.key_id,
    }
    house.json("vault", "rotate")
    assert {row["unreadable"] for row in house.json("vault", "reseal")} == {0}


def crash(flight: Flight) -> None:
    """The payment worker dies with a payment in doubt, as a defect in a library would end it; the next one finishes it."""
    am, one = flight.am, flight.bought["crashed"]
    am.send_orders([one])
    am.wait_line(one, "pay")
    worker = am.house.processes["payment"]
    os.kill(worker.pid, signal.SIGABRT)
    assert worker.wait() == -signal.SIGABRT
    am.house.replace("payment")
    flight.rows |= am.wait_ended([one.order_no], 120)


def replay(flight: Flight) -> None:
    """The refused password is mended and the dead letter done again; one that nobody can read is refused, and says why."""
    am, house = flight.am, flight.am.house
    wrong = flight.bought["wrong"]
    house.json("agents", "set-password", AGENT, "--account", wrong.account, stdin=flight.text("mended"))
    house.json("accounts", "unblock", wrong.account)
    (letter,) = letters(am, "wrong_password")
    assert house.json("dead-letters", "replay", str(letter["id"]))[0]["result"] == "replay"
    until("it failed again", lambda: am.show(wrong.order_no)["generation"] == 2 and letters(am, "wrong_password"), 60)
    for unreadable in letters(am, "poison"):
        done = house.json("dead-letters", "replay", str(unreadable["id"]), code=4)
        flight.places[f"replay of {unreadable['id']}"] = json.dumps(done, ensure_ascii=False).encode()


def letters(am: Am, reason: str, state: str = "open") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = am.house.json("dead-letters", "list", "--reason", reason, "--state", state)
    return found


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


def poison(am: Am, like: Bought, secret: str) -> list[bytes]:
    """Messages that put a password in clear where none belongs."""
    event = json.loads(am.need_pay(like).to_bytes())
    wrong: tuple[dict[str, Any], ...] = (
        {"password_sealed": secret},
        {"password": secret, "price_fen": secret},
        {"account": {"pw": secret}},
    )
    changed = [{**event, "id": canary("id"), "data": {**event["data"], **changes}} for changes in wrong]
    bodies = [json.dumps(one).encode() for one in changed]
    bodies.append(f'{{"password": {json.dumps(secret)}, '.encode())
    publish_raw(am.house.settings.broker_url, "purchase.need_pay", *bodies)
    return bodies


def foreign(am: Am) -> None:
    """A password sealed for another vault: the payment worker can't open it, and says so with a traceback."""
    one = am.buy(f"{AGENT}-canary-foreign")
    stranger = EventMaker(KeyRing.generate().public)
    request_for_it = stranger.need_pay(
        order_no=one.order_no, agent=AGENT, account=one.account, password=one.password, held_order_no=one.hold_no
    )
    am.send([am.event(am.order(one.order_no)), request_for_it])


def collect(flight: Flight, sent: list[bytes]) -> None:
    house, places = flight.am.house, flight.places
    visitor = Visitor(place=house.settings.http_listen)
    flight.secrets["one-time code device"] = visitor.sign_in("anna", flight.text("console"))
    shown = [f"/orders/{number}" for number in flight.rows]
    opened = [f"/dead-letters/{letter['id']}" for letter in house.json("dead-letters", "list")]
    visitor.read(*PAGES, *shown, *opened, *(f"/api/v1{path}" for path in (*shown, "/orders", "/dead-letters")))
    places.update(visitor.pages)
    commands = [*READING, *(("orders", "show", number) for number in flight.rows)]
    for letter in house.json("dead-letters", "list"):
        number = str(letter["id"])
        commands += [("dead-letters", "show", number), ("dead-letters", "replay", number, "--dry-run")]
        commands += [("dead-letters", "raw", number)] if letter["reason"] == "poison" else []
    for command in (*((*command, "--json") for command in commands), *FOR_PEOPLE):
        done = house.cli(*command)
        places[f"daifu {' '.join(command)}"] = (done.stdout + done.stderr).encode()
    for name, process in house.processes.items():
        if name != "sandbox":
            places[f"metrics of {name}"] = str(process.health("/metrics")[1]).encode()
    places |= command_lines({name: process.pid for name, process in house.processes.items()})
    places["the sandbox's journal"] = house.sandbox_journal.read_bytes()
    places["logs"] = house.logs().encode()
    places |= dict(tables(house.settings.database))
    places["queues"] = b"\n".join(overheard(house.settings.broker_url, sent))


def overheard(url: str, sent: list[bytes]) -> list[bytes]:
    """All messages that passed, with their properties, without the poison that this file sent itself."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    messages = []
    while True:
        method, properties, body = channel.basic_get(SPY, auto_ack=True)
        if method is None:
            break
        if body not in sent:
            messages.append(f"{method} {properties} ".encode() + body)
    connection.close()
    assert len(messages) > len(sent)
    return messages
