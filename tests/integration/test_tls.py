"""RabbitMQ and PostgreSQL over TLS: real servers, a certification authority of the test's own. A certificate of another authority,
of another name or out of time, and a server without TLS, are refused with words on what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.broker.connection import connect
from pipeline.broker.management import Management
from pipeline.broker.port import BrokerUnavailable
from pipeline.clock import WallClock
from pipeline.store.engine import StoreUnavailable, open_store
from producers.sdk import Publisher
from producers.sdk_errors import Unreachable as NotPublished
from tests.integration.pipeline_house import House
from tests.integration.pipeline_orders import AGENT, Am
from tests.integration.pipeline_process import START_S, until
from tests.integration.tls_papers import NAME, Listener, Papers, make_papers
from tests.services.debian import install_rabbitmq
from tests.services.errors import ProviderUnavailable
from tests.services.postgres import PostgresServer
from tests.services.postgres_tls import TlsServer, find_debian_binaries
from tests.services.rabbitmq_private import PrivateNode

ISSUER, RENEW, RENAME = "SSL_CERT_FILE", "renew it", "the host name that it was issued for"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return make_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(autouse=True)
def trusted(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installation names its own authority, for everything that goes by OpenSSL's settings."""
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.ours.file))


@pytest.fixture(scope="module")
def rabbitmq(papers: Papers, announce: Callable[[str], None]) -> Iterator[PrivateNode]:
    try:
        node = PrivateNode("private node with TLS", papers.good)
    except ProviderUnavailable:
        install_rabbitmq(announce)
        node = PrivateNode("private node with TLS", papers.good)
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="module")
def tls_postgres(papers: Papers, announce: Callable[[str], None]) -> Iterator[TlsServer]:
    server = TlsServer(find_debian_binaries(announce), papers.good)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def vhost(rabbitmq: PrivateNode) -> Iterator[str]:
    name = rabbitmq.create_vhost()
    yield name
    rabbitmq.delete_vhost(name)


def amqps(node: PrivateNode, vhost: str, host: str = NAME, port: int | None = None) -> str:
    plain = node.url(vhost)
    return plain.replace("amqp://", "amqps://").replace(f"127.0.0.1:{node.port}", f"{host}:{port or node.tls_port}")


# -- RabbitMQ --------------------------------------------------------------------------------------------------------------------


def test_everything_that_talks_to_rabbitmq_does_so_over_tls(
    rabbitmq: PrivateNode, tls_postgres: TlsServer, vhost: str, papers: Papers, tmp_path: Path
) -> None:
    """topology apply and check with the management API, a worker on RabbitMQ and PostgreSQL, and the SDK's pika: one order."""
    url = amqps(rabbitmq, vhost)
    database = make_url(tls_postgres.url(tls_postgres.create_database()))
    database = database.set(host=NAME).update_query_dict(
        {"sslmode": "verify-full", "sslrootcert": str(papers.ours.file)}
    )
    management = rabbitmq.management.url("", "").replace(":@", f"{url.partition('://')[2].partition('@')[0]}@")
    management = (
        management.replace("http://", "https://").rpartition("@")[0] + f"@{NAME}:{rabbitmq.tls_management_port}"
    )
    house = House(tmp_path, BROKER_URL=url, DATABASE_URL=database.render_as_string(hide_password=False),
                  BROKER_MANAGEMENT_URL=management)  # fmt: skip
    try:
        house.prepare()
        house.outside()
        worker = house.start_worker("intake")
        until("intake is ready", worker.ready, START_S)
        until("intake is connected", worker.is_ready)
        house.json("agents", "add", AGENT, "--callback", "http://127.0.0.1:9/")
        am = Am(house)
        am.send([am.event(am.order(f"{AGENT}-tls-{n}")) for n in range(50)])  # more than one TLS record holds
        until("the orders are stored", lambda: len(house.json("orders", "list")) == 50)
        # Its policy comes with the definitions, which nobody imported.
        checked = house.json("topology", "check", code=1)
        assert checked["not_compared"] == []
        assert {one["object"].split()[0] for one in checked["differences"]} == {"policy"}

        def connections() -> list[dict[str, Any]]:
            every = rabbitmq.management.request("GET", "/connections?columns=name,ssl,vhost")
            return [one for one in every if one.get("vhost") == vhost]

        until("the management API tells of the worker's connections", lambda: len(connections()) >= 2)
        assert {one["ssl"] for one in connections()} == {True}
        with closing(open_store(house.settings.database, WallClock(), pool_size=1)) as store:
            query = text(
                "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
            )
            count, all_tls = tuple(store.read(lambda tx: tx.run(query).one()))
        assert count > 1
        assert all_tls
    finally:
        house.close()


@pytest.mark.parametrize("stock", [False, True], ids=["buffered", "stock"])
@pytest.mark.parametrize(
    ("paper", "host", "advice"),
    [("stranger", NAME, ISSUER), ("expired", NAME, RENEW), ("good", "127.0.0.1", RENAME), ("other_name", NAME, RENAME)],
)
def test_a_certificate_that_is_not_good_ends_every_way_to_rabbitmq(
    papers: Papers, paper: str, host: str, advice: str, *, stock: bool
) -> None:
    server = Listener(getattr(papers, paper))
    try:
        url = f"amqps://someone:invented@{host}:{server.port}/"
        with pytest.raises(BrokerUnavailable, match=advice) as caught:
            connect(url, name="a test", stock=stock)
        with pytest.raises(NotPublished, match=advice) as not_published:
            Publisher(url, None, patience_s=1).__enter__()
        api = Management(f"https://someone:invented@{host}:{server.port}", "/")
        with pytest.raises(BrokerUnavailable, match=advice) as not_told:
            api.queues()
        assert server.shook_hands == 0
        told = f"{caught.value}{not_published.value}{not_told.value}"
        assert "invented" not in told
        assert "certificate is not good" in told
    finally:
        server.close()


def test_the_real_rabbitmq_is_refused_under_another_name_or_authority(
    rabbitmq: PrivateNode, vhost: str, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrokerUnavailable, match=RENAME):
        connect(amqps(rabbitmq, vhost, host="127.0.0.1"), name="a test")
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.theirs.file))
    with pytest.raises(BrokerUnavailable, match=ISSUER):
        connect(amqps(rabbitmq, vhost), name="a test")
    with pytest.raises(NotPublished, match=ISSUER):
        Publisher(amqps(rabbitmq, vhost), None, patience_s=1).__enter__()


def test_where_tls_is_asked_for_nothing_is_said_in_clear(rabbitmq: PrivateNode, vhost: str) -> None:
    url = amqps(rabbitmq, vhost, port=rabbitmq.port)  # the port without TLS
    with pytest.raises(BrokerUnavailable, match="is this the TLS port"):
        connect(url, name="a test")
    with pytest.raises(NotPublished, match=r"TLS port|connection was lost"):
        Publisher(url, None, patience_s=1).__enter__()


# -- PostgreSQL ------------------------------------------------------------------------------------------------------------------


def postgres_url(server: PostgresServer, host: str = NAME, **query: str) -> str:
    return make_url(server.url()).set(host=host).update_query_dict(query).render_as_string(hide_password=False)


def test_a_postgresql_that_is_not_the_one_is_refused(tls_postgres: TlsServer, papers: Papers) -> None:
    full = {"sslmode": "verify-full", "sslrootcert": str(papers.ours.file)}
    bad = {
        "another authority": postgres_url(tls_postgres, sslmode="verify-full", sslrootcert=str(papers.theirs.file)),
        "no authority": postgres_url(tls_postgres, sslmode="verify-full", sslrootcert=str(papers.ours.file) + ".not"),
        "another name": postgres_url(tls_postgres, host="127.0.0.1", **full),
    }
    for what, url in bad.items():
        with pytest.raises(StoreUnavailable, match="sslrootcert=FILE") as caught:
            open_store(url, WallClock())
        assert str(make_url(url).password) not in str(caught.value), what
    with closing(open_store(postgres_url(tls_postgres, **full), WallClock())) as store:
        assert store.read(
            lambda tx: tx.run(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one()
        )
    # The server's own rule: who comes without TLS is not let in, whatever his password.
    with pytest.raises(StoreUnavailable, match="no encryption"):
        open_store(postgres_url(tls_postgres, sslmode="disable"), WallClock())
    tls_postgres.change_certificate(papers.expired)
    try:
        until("the expired certificate is shown", lambda: refused(postgres_url(tls_postgres, **full)), 20)
        assert "certificate" in refused(postgres_url(tls_postgres, **full))
    finally:
        tls_postgres.change_certificate(papers.good)
        until("the good one again", lambda: not refused(postgres_url(tls_postgres, **full)), 20)


def refused(url: str) -> str:
    try:
        open_store(url, WallClock()).close()
    except StoreUnavailable as error:
        return str(error)
    return ""


def test_a_postgresql_without_tls_is_no_fallback(postgres: PostgresServer, papers: Papers) -> None:
    full = {"sslmode": "verify-full", "sslrootcert": str(papers.ours.file)}
    url = make_url(postgres.url()).update_query_dict(full).render_as_string(hide_password=False)
    with pytest.raises(StoreUnavailable, match=r"does not support SSL.*wants a server with TLS"):
        open_store(url, WallClock())
