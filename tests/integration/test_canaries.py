"""One run through all five stages with a canary for every kind of secret, down every path: failures, dead letters, replays, messages
nobody can read, a worker that crashes, both key rings rotated in flight. Afterwards none is found anywhere, in any form.

RabbitMQ and PostgreSQL only: the embedded default runs the same code on one file, and has no queues to look into.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.clock import WallClock
from pipeline.store import sealed
from pipeline.store.engine import open_store
from tests.integration.canaries import canary, core_limits, places_of
from tests.integration.canary_flight import GIVEN_OUT, KINDS, TIMES, Flight, collect, fly
from tests.integration.pipeline_endings import ENDINGS, paid
from tests.integration.pipeline_house import House
from tests.integration.pipeline_orders import AGENT, PASSENGERS, Am
from tests.integration.pipeline_process import until
from tests.services.broker import RabbitmqNode
from tests.services.ports import LOOPBACK, free_ports


@pytest.fixture(scope="module")
def flight(broker: RabbitmqNode, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flight]:
    vhost, folder = broker.create_vhost(), tmp_path_factory.mktemp("canaries")
    own: dict[str, str | bytes] = {name: canary(name) for name in KINDS}
    own |= {name: canary(name, "") for name in ("token", "callback-address")}
    (port,) = free_ports(1)
    house = House(
        folder, BROKER_URL=broker.url(vhost), DATABASE_URL=module_database, AM_TOKEN=str(own["token"]),
        HTTP_LISTEN=f"{LOOPBACK}:{port}", **TIMES,
    )  # fmt: skip
    try:
        house.prepare()
        house.start_all()
        until("serve is ready", house.start("serve", "serve").ready)
        flight = Flight(Am(house), own)
        bodies = fly(flight)
        collect(flight, bodies)
        yield flight
    finally:
        house.close()
        broker.delete_vhost(vhost)


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
    logs = flight.places["logs"].decode()
    assert all(said in logs for said in ("Traceback (most recent call last)", '"level": "debug"', "key_ring_changed"))
    filled = {place for place, content in flight.places.items() if content}
    assert not [place for place in flight.places if place not in filled and not place.startswith("table ")]
    assert filled >= {
        f"table {name}" for name in ("agents", "purchases", "dead_letters", "history", "callbacks", "results")
    }
    assert set(flight.secrets) > {"webhook", "broker", "database", "one-time code device", "private key of vault.json"}


def test_no_secret_is_found_anywhere_in_any_form(flight: Flight) -> None:
    """The sandbox's file is 12306's and the agents' side: the agents' keys are theirs, and in it; no password is."""
    found = {name: places_of(secret, flight.places) for name, secret in flight.secrets.items() if name not in GIVEN_OUT}
    for name in ("key", "new-key"):
        found[name].remove("the sandbox's journal")
    assert {name: places for name, places in found.items() if places} == {}


@pytest.mark.parametrize("name", GIVEN_OUT)
def test_what_operators_are_shown_on_purpose_is_in_no_log_queue_or_metric(flight: Flight, name: str) -> None:
    """An agent's callback address is as good as a password to it, and stands where it is set."""
    shown = ("daifu agents list", "daifu callbacks", "table agents", f"page /settings/payment?agent={AGENT}")
    found = [place for place in places_of(flight.secrets[name], flight.places) if not place.startswith(shown)]
    assert not found


def test_the_search_finds_what_is_there(flight: Flight) -> None:
    """A hold number is no secret and is everywhere; a planted canary is found where it was put."""
    number = flight.bought["message"].hold_no
    found = set(places_of(number, flight.places))
    assert {"logs", "queues", "table purchases", "the sandbox's journal"} - found <= {"logs"}
    planted = {**flight.places, "logs": flight.places["logs"] + json.dumps(flight.secrets["unified"]).encode()}
    assert places_of(flight.secrets["unified"], planted) == ["logs"]


def test_everything_is_closed_with_the_new_keys(flight: Flight) -> None:
    """Those that arrived under the old ones since: AM's messages, at this test's second time."""
    house = flight.am.house
    house.json("vault", "reseal")
    with closing(open_store(house.settings.database, WallClock(), pool_size=1)) as store:
        for name, key_id in flight.old_keys.items():
            assert store.read(lambda tx, ring=name, old=key_id: sealed.count_under(tx, ring, [old])) == {}  # type: ignore[misc]


def test_a_poison_letter_names_the_field_and_not_its_value(flight: Flight) -> None:
    details = [letter["detail"] for letter in flight.am.house.json("dead-letters", "list", "--reason", "poison")]
    for named in ("password_sealed", "price_fen", "account"):
        assert any(named in detail for detail in details), details


def test_id_numbers_are_where_the_work_is_and_nowhere_else(flight: Flight) -> None:
    """In AM's own messages and the orders they became; masked for people, and in nothing that leaves this system."""
    allowed = {"queues", "table orders", "table requests", "the sandbox's journal"}
    for person in PASSENGERS:
        assert set(places_of(person["id_no"], flight.places)) - allowed == set()


def test_no_process_leaves_a_core(flight: Flight) -> None:
    limits = core_limits({name: process.pid for name, process in flight.am.house.processes.items()})
    assert set(map(tuple, limits.values())) == {("0", "0")}
    assert not [path for path in Path.cwd().iterdir() if path.name.startswith("core")]
