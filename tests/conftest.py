"""The fixtures that give tests a real RabbitMQ and a real PostgreSQL (see tests/services), started when first asked for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator

import pytest
import structlog

from tests.services.broker import GivenNode, RabbitmqNode
from tests.services.postgres import GivenServer, PostgresServer
from tests.services.providers import provide_postgres, provide_rabbitmq
from tests.services.report import ServiceReport

REPORT = "daifu-services"


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A command run inside a test sets up logging to a stream that is closed after it: nobody logs there later."""
    yield
    structlog.reset_defaults()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ServiceReport(config), REPORT)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays until the end: nobody's collector walks over it, neither while it grows nor in a test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def _report(config: pytest.Config) -> ServiceReport:
    report = config.pluginmanager.get_plugin(REPORT)
    assert isinstance(report, ServiceReport)
    return report


@pytest.fixture(scope="session")
def announce(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Says something to the person at the terminal, past pytest's capture."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    terminal = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def say(text: str) -> None:
        if capture is not None and terminal is not None:
            with capture.global_and_fixture_disabled():
                terminal.write_line(f"\n{text}")

    return say


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config, announce: Callable[[str], None]) -> Iterator[RabbitmqNode]:
    """The session's RabbitMQ, shared: a test works in a virtual host of its own (`fresh_vhost`)."""
    node = provide_rabbitmq(announce)
    _report(pytestconfig).used("RabbitMQ", node)
    yield node
    node.close()


@pytest.fixture(scope="session")
def our_broker(
    broker: RabbitmqNode, pytestconfig: pytest.Config, announce: Callable[[str], None]
) -> Iterator[RabbitmqNode]:
    """The session's RabbitMQ where this run started it; beside a given one a second, which tests may stop."""
    if not isinstance(broker, GivenNode):
        yield broker
        return
    node = provide_rabbitmq(announce, ours=True)
    _report(pytestconfig).used("RabbitMQ for tests that stop it", node)
    yield node
    node.close()


@pytest.fixture(scope="session")
def broker_url(broker: RabbitmqNode) -> str:
    """AMQP URL of the node's virtual host `/`."""
    return broker.url()


@pytest.fixture
def rabbitmq_node(our_broker: RabbitmqNode) -> Iterator[RabbitmqNode]:
    """For tests that stop, kill or wipe the node: it runs again afterwards."""
    our_broker.start()
    yield our_broker
    our_broker.start()


@pytest.fixture
def fresh_vhost(request: pytest.FixtureRequest, broker: RabbitmqNode) -> Iterator[str]:
    """AMQP URL of a new, empty virtual host, deleted afterwards with all its queues and connections.

    It is on the node that the test stops, where the test asks for `rabbitmq_node` too.
    """
    node: RabbitmqNode = request.getfixturevalue("rabbitmq_node") if "rabbitmq_node" in request.fixturenames else broker
    name = node.create_vhost()
    yield node.url(name)
    node.start()
    node.delete_vhost(name)


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The session's PostgreSQL, shared: a test works in a database of its own (`fresh_database`)."""
    server = provide_postgres()
    _report(pytestconfig).used("PostgreSQL", server)
    yield server
    server.close()


@pytest.fixture(scope="session")
def our_postgres(postgres: PostgresServer, pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The session's PostgreSQL where this run started it; beside a given one a second, which tests may stop."""
    if not isinstance(postgres, GivenServer):
        yield postgres
        return
    server = provide_postgres(ours=True)
    _report(pytestconfig).used("PostgreSQL for tests that stop it", server)
    yield server
    server.close()


@pytest.fixture(scope="session")
def database_url(postgres: PostgresServer) -> str:
    """SQLAlchemy URL (`postgresql+psycopg://…`) of the database that is always there."""
    return postgres.url()


@pytest.fixture
def postgres_server(our_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """For tests that stop, kill or restart the server: it runs again afterwards."""
    our_postgres.start()
    yield our_postgres
    our_postgres.start()


@pytest.fixture
def fresh_database(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of a new, empty database, dropped afterwards whoever is still connected.

    It is on the server that the test stops, where the test asks for `postgres_server` too.
    """
    stopping = "postgres_server" in request.fixturenames
    server: PostgresServer = request.getfixturevalue("postgres_server") if stopping else postgres
    name = server.create_database()
    yield server.url(name)
    server.start()
    server.drop_database(name)


@pytest.fixture(scope="module")
def module_database(postgres: PostgresServer) -> Iterator[str]:
    """As `fresh_database`, one for all tests of a file."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)
