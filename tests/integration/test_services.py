"""The services that the tests run against are real, recent, durable, and reachable from this machine only."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlsplit

import amqp
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.services.broker import RabbitmqNode
from tests.services.postgres import PostgresServer

LOOPBACK_NAMES = {"127.0.0.1", "::1", "localhost"}


def connect(url: str) -> amqp.Connection:
    parts = urlsplit(url)
    connection = amqp.Connection(
        host=f"{parts.hostname}:{parts.port}",
        userid=parts.username,
        password=parts.password,
        virtual_host=parts.path[1:].replace("%2F", "/"),
    )
    connection.connect()
    return connection


def query(url: str, statement: str) -> str:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return str(row[0]) if row else ""


def test_rabbitmq_is_3_10_or_newer(broker: RabbitmqNode, broker_url: str) -> None:
    with connect(broker_url) as connection:
        assert connection.server_properties["version"] == broker.version
    assert tuple(int(part) for part in broker.version.split(".")[:2]) >= (3, 10)


def test_a_fresh_vhost_holds_quorum_queues_and_starts_empty(broker: RabbitmqNode, fresh_vhost: str) -> None:
    with connect(fresh_vhost) as connection, connection.channel() as channel:
        vhost = connection.virtual_host
        assert broker.management.queues(vhost) == {}
        channel.queue_declare("probe", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.basic_publish(amqp.Message(b"x", delivery_mode=2), routing_key="probe")
    assert broker.management.queues(vhost)["probe"]["type"] == "quorum"


def test_a_fresh_vhost_is_gone_after_its_test(broker: RabbitmqNode) -> None:
    name = broker.create_vhost()
    broker.delete_vhost(name)
    with pytest.raises(amqp.exceptions.NotAllowed), connect(broker.url(name)):
        pass


def test_a_killed_node_keeps_its_quorum_queue_and_a_wiped_one_loses_it(rabbitmq_node: RabbitmqNode) -> None:
    vhost = rabbitmq_node.create_vhost()
    with connect(rabbitmq_node.url(vhost)) as connection, connection.channel() as channel:
        channel.queue_declare("probe", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    rabbitmq_node.kill()
    assert not rabbitmq_node.running()
    rabbitmq_node.start()
    with connect(rabbitmq_node.url(vhost)) as connection, connection.channel() as channel:
        channel.queue_declare("probe", passive=True)
    rabbitmq_node.wipe()
    rabbitmq_node.start()
    assert vhost not in {known["name"] for known in rabbitmq_node.management.request("GET", "/vhosts")}


def test_the_services_are_reached_on_the_loopback_interface(broker_url: str, database_url: str) -> None:
    assert urlsplit(broker_url).hostname in LOOPBACK_NAMES
    assert make_url(database_url).host in LOOPBACK_NAMES


def test_postgresql_is_14_or_newer_and_survives_a_power_cut(postgres: PostgresServer, database_url: str) -> None:
    assert int(query(database_url, "SHOW server_version_num")) >= 140000
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert postgres.setting(name) == "on"


def test_a_fresh_database_is_empty_and_in_utf_8(fresh_database: str) -> None:
    assert query(fresh_database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    assert query(fresh_database, "SHOW server_encoding") == "UTF8"


def test_a_dropped_database_disconnects_whoever_is_still_there(postgres: PostgresServer) -> None:
    name = postgres.create_database()
    dsn = make_url(postgres.url(name)).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        postgres.drop_database(name)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_killed_server_has_what_was_committed(postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    url = postgres_server.url(name)
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        connection.execute("CREATE TABLE probe (answer int)")
        connection.execute("INSERT INTO probe VALUES (42)")
    postgres_server.kill()
    assert not postgres_server.running()
    postgres_server.start()
    assert query(url, "SELECT answer FROM probe") == "42"
    postgres_server.drop_database(name)
