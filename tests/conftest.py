"""The fixtures that give tests a real RabbitMQ and a real PostgreSQL (see tests/services), started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.broker import RabbitmqNode
from tests.services.postgres import PostgresServer
from tests.services.providers import provide_postgres, provide_rabbitmq
from tests.services.report import ServiceReport

REPORT = "daifu-services"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ServiceReport(), REPORT)


def _report(config: pytest.Config) -> ServiceReport:
    report = config.pluginmanager.get_plugin(REPORT)
    assert isinstance(report, ServiceReport)
    return report


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[RabbitmqNode]:
    """The session's RabbitMQ, shared: a test works in a virtual host of its own (`fresh_vhost`)."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    terminal = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def announce(text: str) -> None:
        if capture is not None and terminal is not None:
            with capture.global_and_fixture_disabled():
                terminal.write_line(f"\n{text}")

    node = provide_rabbitmq(announce)
    _report(pytestconfig).used("RabbitMQ", node)
    yield node
    node.close()


@pytest.fixture(scope="session")
def broker_url(broker: RabbitmqNode) -> str:
    """AMQP URL of the node's virtual host `/`."""
    return broker.url()


@pytest.fixture
def fresh_vhost(broker: RabbitmqNode) -> Iterator[str]:
    """AMQP URL of a new, empty virtual host, deleted afterwards with all its queues and connections."""
    name = broker.create_vhost()
    yield broker.url(name)
    broker.delete_vhost(name)


@pytest.fixture
def rabbitmq_node(broker: RabbitmqNode) -> Iterator[RabbitmqNode]:
    """For tests that stop, kill or wipe the node: it runs again afterwards. Fails on a node that this run did not start."""
    broker.start()
    yield broker
    broker.start()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The session's PostgreSQL, shared: a test works in a database of its own (`fresh_database`)."""
    server = provide_postgres()
    _report(pytestconfig).used("PostgreSQL", server)
    yield server
    server.close()


@pytest.fixture(scope="session")
def database_url(postgres: PostgresServer) -> str:
    """SQLAlchemy URL (`postgresql+psycopg://…`) of the database that is always there."""
    return postgres.url()


@pytest.fixture
def fresh_database(postgres: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty database, dropped afterwards whoever is still connected."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def module_database(postgres: PostgresServer) -> Iterator[str]:
    """As `fresh_database`, one for all tests of a file."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def postgres_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """For tests that stop, kill or restart the server: it runs again afterwards. Fails on one that this run did not start."""
    postgres.start()
    yield postgres
    postgres.start()
