"""Every process's user on a real RabbitMQ: it may do its work, and is refused everything else. What each may do is written down
here once more, by hand: the product derives it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import pytest
import structlog
from click.testing import CliRunner

from pipeline.broker import compare, declare
from pipeline.broker.connection import close, connect, parse_url
from pipeline.broker.declare import Difference
from pipeline.broker.definitions import definitions
from pipeline.broker.management import Management
from pipeline.broker.port import BrokerUnavailable
from pipeline.broker.rights import RIGHTS
from pipeline.cli import doctor_inside, main
from pipeline.cli.findings import checked
from pipeline.secret import Secret
from pipeline.settings import Settings
from tests.services.broker import RabbitmqNode
from tests.services.ports import LOOPBACK

STAGES = ("intake", "credentials", "payment", "settlement", "notification")
QUEUES = (*(f"daifu.{it}" for it in STAGES), *(f"daifu.{it}.dlq" for it in STAGES), "daifu.am")
WAKES = {("daifu", f"wake.{it}") for it in STAGES}
DEADS = {("daifu", f"dead.{it}") for it in STAGES}
SAYS = {("daifu", key) for key in ("order.paid", "purchase.need_pay", "refund.arrived")}
RESULTS = {("daifu.events", "purchase.settled")}
PAST_THE_EXCHANGE = {("", "daifu.payment")}  # the default exchange puts into a queue directly
EVERY_KEY = WAKES | DEADS | SAYS | RESULTS | PAST_THE_EXCHANGE

CONSUMES: dict[str, set[str]] = {
    **{f"daifu-{stage}": {f"daifu.{stage}"} for stage in STAGES},
    "daifu-relay": {f"daifu.{stage}.dlq" for stage in STAGES},
    "daifu-serve": set(),
    "daifu-am": {"daifu.am"},
    "daifu-scaler": set(),
    "daifu-setup": set(QUEUES),
}
PUBLISHES: dict[str, set[tuple[str, str]]] = {
    **{f"daifu-{stage}": set(WAKES) for stage in STAGES},
    "daifu-intake": WAKES | {("daifu", "dead.intake")},
    "daifu-relay": WAKES | DEADS | RESULTS,
    "daifu-serve": set(WAKES),
    "daifu-am": set(SAYS),
    "daifu-scaler": set(),
    "daifu-setup": EVERY_KEY - PAST_THE_EXCHANGE,
}


class Site:
    """A virtual host as the definitions make it, and a way in for each user."""

    def __init__(self, node: RabbitmqNode) -> None:
        self.node, self.vhost = node, node.create_vhost()
        self._passwords = {it.user: Secret(f"trial-of-{it.user}") for it in RIGHTS}
        text = json.dumps(definitions(self.vhost, self._passwords))
        for (
            user
        ) in self._passwords:  # users belong to the whole node: what may live there under these names stays as it is
            text = text.replace(f'"{user}"', f'"{self._here(user)}"')
        node.management.request("POST", "/definitions", json.loads(text))

    def _here(self, user: str) -> str:
        return f"{user}.{self.vhost}"

    def url(self, user: str) -> str:
        password = self._passwords[user].reveal()
        return f"amqp://{self._here(user)}:{password}@{LOOPBACK}:{self.node.port}/{self.vhost}"

    def management_url(self, user: str) -> str:
        return self.node.management.url(self._here(user), self._passwords[user].reveal())

    def management(self, user: str) -> Management:
        return Management(self.management_url(user), self.vhost)

    def close(self) -> None:
        self.node.delete_vhost(self.vhost)
        for user in self._passwords:
            self.node.management.request("DELETE", f"/users/{self._here(user)}")


@pytest.fixture(scope="module")
def site(broker: RabbitmqNode) -> Iterator[Site]:
    made = Site(broker)
    yield made
    made.close()


@contextmanager
def connection_of(site: Site, user: str) -> Iterator[Any]:
    connection = connect(site.url(user), name=f"test as {user}")
    try:
        yield connection
    finally:
        close(connection)


def _refused(connection: Any, act: Any) -> bool:
    """Whether the broker refuses this for want of rights; a refusal ends the channel, so each act has its own."""
    channel = connection.channel()
    try:
        act(channel)
    except amqp.AccessRefused:
        return True
    channel.close()
    return False


def _publish(exchange: str, key: str) -> Any:
    def act(channel: Any) -> None:
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message(b"{}"), exchange=exchange, routing_key=key)

    return act


def test_every_user_is_named_here() -> None:
    assert set(CONSUMES) == set(PUBLISHES) == {it.user for it in RIGHTS}


@pytest.mark.parametrize("user", sorted(CONSUMES))
def test_a_user_consumes_publishes_and_declares_what_its_work_needs_and_nothing_else(site: Site, user: str) -> None:
    with connection_of(site, user) as connection:
        may_read = {it for it in QUEUES if not _refused(connection, lambda ch, it=it: ch.basic_get(it, no_ack=True))}
        may_write = {it for it in EVERY_KEY if not _refused(connection, _publish(*it))}
        others = {
            "declares a queue": lambda ch: ch.queue_declare("daifu.mine", durable=True),
            "binds": lambda ch: ch.queue_bind("daifu.am", "daifu", "purchase.need_pay"),
            "purges": lambda ch: ch.queue_purge("daifu.am"),
            "deletes": lambda ch: ch.queue_delete("daifu.payment.dlq"),
            "declares an exchange": lambda ch: ch.exchange_declare("daifu.mine", "topic", durable=True),
        }
        if user == "daifu-setup":  # it may, and the others are still to look at what it would undo
            others = {name: others[name] for name in ("declares a queue", "declares an exchange")}
        may_do = {name for name, act in others.items() if not _refused(connection, act)}
    # Purging asks for the right to read.
    assert may_do == ({"purges"} if user == "daifu-am" else set())
    assert may_read == CONSUMES[user]
    assert may_write == PUBLISHES[user]


def test_whoever_is_not_named_does_not_get_in(site: Site) -> None:
    stranger = site.url("daifu-payment").replace("trial-of-daifu-payment", "guess")
    with pytest.raises((BrokerUnavailable, amqp.AccessRefused)):
        connect(stranger, name="test as a stranger")


def test_what_the_definitions_declare_is_what_topology_check_expects(site: Site) -> None:
    assert declare.check(site.url("daifu-setup")) == []
    assert compare.differences(site.management("daifu-setup")) == []
    declare.apply(site.url("daifu-setup"))


def test_without_the_tag_the_management_api_says_what_is_needed(site: Site) -> None:
    with pytest.raises(BrokerUnavailable, match=r"policymaker.*DAIFU_BROKER_MANAGEMENT_URL") as refused:
        compare.differences(site.management("daifu-payment"))
    assert "trial-of" not in str(refused.value)


def test_every_difference_of_bindings_policies_and_queues_is_named(broker: RabbitmqNode, fresh_vhost: str) -> None:
    vhost = parse_url(fresh_vhost).vhost
    admin = parse_url(fresh_vhost)
    management = Management(broker.management.url(admin.user, admin.password), vhost)
    declare.apply(fresh_vhost)
    unset = Difference("policy of daifu.am queue-leader-locator", "balanced", "not set")
    assert unset in compare.differences(management)
    policy = {"pattern": "^daifu", "apply-to": "queues", "priority": 9}
    broker.management.request(
        "PUT",
        f"/policies/{vhost}/rash",
        {**policy, "definition": {"message-ttl": 1000, "queue-leader-locator": "balanced"}},
    )
    connection = connect(fresh_vhost, name="test changes")
    channel = connection.channel()
    channel.queue_unbind("daifu.payment", "daifu", "wake.payment")
    channel.queue_bind("daifu.payment.dlq", "daifu", "wake.settlement")
    channel.queue_declare("daifu.refunds", durable=True, auto_delete=False)
    channel.queue_declare("accounting", durable=True, auto_delete=False)
    channel.queue_bind("accounting", "daifu.events", "purchase.settled")  # anybody may listen to results
    channel.queue_bind("accounting", "daifu", "order.*")
    close(connection)
    told = compare.differences(management)
    assert [it for it in told if not it.object.startswith("policy")] == [
        Difference("binding daifu wake.payment daifu.payment", "bound", "missing"),
        Difference("binding daifu order.* accounting", "not bound", "bound"),
        Difference("binding daifu wake.settlement daifu.payment.dlq", "not bound", "bound"),
        Difference("queue daifu.refunds", "none of this name", "declared"),
    ]
    policies = [it for it in told if it.object.startswith("policy")]
    assert policies == [
        Difference(f"policy of {it.object.split()[2]} message-ttl", "not set", "1000") for it in policies
    ]
    assert {it.object.split()[2] for it in policies} == set(QUEUES)


def test_the_command_says_what_it_compared_and_what_it_could_not(site: Site) -> None:
    def check(**settings: str) -> tuple[int, dict[str, Any], str]:
        gone: dict[str, str | None] = {name: None for name in os.environ if name.startswith("DAIFU_")}
        own = {f"DAIFU_{name}": value for name, value in settings.items()}
        try:
            done = CliRunner().invoke(
                main, ["topology", "check", "--json"], env={**gone, **own}, catch_exceptions=False
            )
        finally:
            structlog.reset_defaults()  # it logs to the runner's stderr, which is closed by now
        return done.exit_code, json.loads(done.stdout), done.stderr

    url = site.url("daifu-setup")
    code, said, noted = check(BROKER_URL=url)
    assert (code, said["ok"], said["not_compared"]) == (0, True, ["bindings", "policies", "unknown queues"])
    assert "DAIFU_BROKER_MANAGEMENT_URL" in noted
    management = site.management_url("daifu-setup")
    assert check(BROKER_URL=url, BROKER_MANAGEMENT_URL=management) == (
        0,
        {"ok": True, "differences": [], "not_compared": []},
        "",
    )
    with connection_of(site, "daifu-setup") as connection:
        channel = connection.channel()
        channel.queue_unbind("daifu.am", "daifu.events", "#")
        code, said, _ = check(BROKER_URL=url, BROKER_MANAGEMENT_URL=management)
        channel.queue_bind("daifu.am", "daifu.events", "#")
    assert (code, said["differences"]) == (
        1,
        [{"object": "binding daifu.events # daifu.am", "expected": "bound", "found": "missing"}],
    )


@pytest.mark.parametrize("user", ["daifu-payment", "daifu-relay"])
def test_doctor_beside_a_process_says_that_queues_are_not_its_to_look_at(site: Site, user: str) -> None:
    given = Settings.model_validate({"broker_url": site.url(user), "database_url": "postgresql://127.0.0.1/none"})
    (row,) = checked("broker", doctor_inside.broker, given)
    assert row["level"] == "ok"
    assert row["detail"].startswith("RabbitMQ ")
    assert "`daifu topology check`" in row["detail"]
