"""12306, the cashier and agents over TLS: with a certificate of another authority, of another name or out of time nothing is sent."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from pipeline.cli.doctor_inside import settings_fit
from pipeline.clock import WallClock
from pipeline.errors import Unreachable
from pipeline.outbound import HttpAgentCaller
from pipeline.ports import CallFailure
from pipeline.railway.http_cashier import HttpCashier
from pipeline.railway.http_railway import HttpRailway
from pipeline.settings import read
from tests.integration.tls_papers import NAME, Listener, Papers, make_papers


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return make_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(autouse=True)
def trusted(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installation names its own authority, for everything that goes by OpenSSL's settings."""
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.ours.file))


@pytest.mark.parametrize(
    ("paper", "host"), [("stranger", NAME), ("expired", NAME), ("other_name", NAME), ("good", "127.0.0.1")]
)
def test_nothing_is_sent_to_an_upstream_or_an_agent_with_a_bad_certificate(
    papers: Papers, paper: str, host: str
) -> None:
    server = Listener(getattr(papers, paper))
    base = f"https://{host}:{server.port}"

    async def scenario() -> None:
        cashier = HttpCashier(base, timeout_s=5, clock=WallClock())
        for call in (
            cashier.open(),
            cashier.trade("0"),
            HttpRailway(base, cashier_url=base, timeout_s=5, clock=WallClock()).probe(),
        ):
            with pytest.raises(Unreachable, match=r"Certificate|CertVerification"):
                await call
        caller = HttpAgentCaller(False, [ip_network("127.0.0.0/8"), ip_network("::1/128")], 5)
        answer = await caller.post(f"{base}/secret-path", b"orderNo=1", {})
        assert (answer.delivered, answer.status, answer.failure) == (False, None, CallFailure.BROKE_OFF)
        assert "Certificate" in answer.answer
        assert "secret-path" not in answer.answer
        trouble = await caller.trouble(f"{base}/secret-path")
        assert trouble is not None
        assert "certificate is not good" in trouble
        assert "secret-path" not in trouble

    try:
        asyncio.run(scenario())
        assert server.shook_hands == 0
    finally:
        server.close()


def test_a_good_certificate_is_taken_by_the_same_clients(papers: Papers) -> None:
    """Else the test before would prove nothing."""
    server = Listener(papers.good)

    async def scenario() -> None:
        line = await HttpCashier(f"https://{NAME}:{server.port}", timeout_s=5, clock=WallClock()).open()
        await line.close()
        caller = HttpAgentCaller(False, [ip_network("127.0.0.0/8"), ip_network("::1/128")], 5)
        assert await caller.trouble(f"https://{NAME}:{server.port}/") is None

    try:
        asyncio.run(scenario())
        assert server.shook_hands == 2
    finally:
        server.close()


def test_doctor_warns_of_what_goes_over_a_network_unchecked() -> None:
    def warned(broker: str, database: str) -> str:
        own = {
            "RAILWAY_URL": "https://kyfw.example",
            "CASHIER_URL": "https://cashier.example",
            "HEALTH_LISTEN": "0.0.0.0:9306",
        }
        own |= {"BROKER_URL": broker, "DATABASE_URL": database}
        return " ".join(found.detail for found in settings_fit(read({f"DAIFU_{name}": it for name, it in own.items()})))

    plain = warned("amqp://mq.example/", "postgresql://db.example/daifu?sslmode=require")
    assert "RabbitMQ is reached without TLS" in plain
    assert "PostgreSQL's certificate is not checked" in plain
    assert warned("amqps://mq.example/", "postgresql://db.example/daifu?sslmode=verify-full") == "they fit together"
    assert warned("amqp://127.0.0.1/", "postgresql://localhost/daifu") == "they fit together"
