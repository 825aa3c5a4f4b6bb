"""Callbacks to somebody who wants us to call somebody else, to wait, to fill our memory, or to tell his address to our logs."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline.outbound import HttpAgentCaller, why_denied
from pipeline.ports import CallbackAnswer, CallFailure
from tests.unit.canned_server import Talk, canned, http, http_json
from tests.unit.test_outbound import post, resolver

LOOPBACK = (ip_network("127.0.0.0/8"),)
TOKEN = "canary-4711"

# The 22 addresses that Svix's own test blocks or not (`is_allowed_test`), and 15 that its code means but its test does not try: 37.
SVIX_BLOCKS = (
    "10.254.0.0 192.168.10.65 172.16.10.65 0.1.2.3 0.0.0.0 127.0.0.1 169.254.45.1 255.255.255.255 192.0.2.255 198.51.100.65",
    "203.0.113.6 100.100.0.0 192.0.0.0 192.0.0.255 250.10.20.30 198.18.0.0 ::1 ::ffff:127.0.0.1 ::ffff:0.0.0.1",
    "10.0.0.0 10.255.255.255 172.31.255.255 192.168.255.255 100.64.0.0 100.127.255.255 198.19.255.255 240.0.0.0 224.0.0.1",
    "fe80::1 febf::1 fc00::1 fdff::1 ff02::1 2001:db8::1 :: ::ffff:10.0.0.1 ::ffff:169.254.169.254",
)
# One IPv4 address in every way that some resolver or socket reads: decimal, octal, hex, short, mixed, full-width, with dots behind.
LOOPBACK_HOSTS = (
    "127.0.0.1 127.1 127.0.1 2130706433 017700000001 0x7f000001 0x7f.1 0x7F.0x0.0x0.0x1 0177.0.0.1 127.0.0.01 127.000.000.001 127.0.0.1.",
    "%31%32%37.0.0.1 １２７.0.0.1 127。0。0。1 127．0．0．1 ①②⑦.⓪.⓪.① [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1]",
    "[64:ff9b::127.0.0.1] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2001:0:7f00:1::] [fe80::1%25lo] [fe80::1%lo] [::] 0 0.0.0.0 localhost LOCALHOST",
    "localhost. ip6-localhost",
)
METADATA_HOSTS = (
    "169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 [::ffff:169.254.169.254] [fd00:ec2::254] 100.100.100.200"
)


def refused(url: str, caller: HttpAgentCaller, names: dict[str, list[str]] | None = None) -> CallbackAnswer:
    """The answer about a call that was not made."""
    answer = asyncio.run(post(url, caller, names))
    assert (answer.delivered, answer.status) == (False, None)
    assert answer.failure not in (None, CallFailure.TIMEOUT, CallFailure.BROKE_OFF)
    assert TOKEN not in answer.answer
    return answer


@pytest.mark.parametrize("address", " ".join(SVIX_BLOCKS).split())
def test_what_svix_blocks_is_denied(address: str) -> None:
    assert why_denied(ip_address(address), ()) is not None


@pytest.mark.parametrize("host", " ".join(LOOPBACK_HOSTS).split())
def test_this_machine_is_called_by_no_spelling_of_its_address(host: str) -> None:
    for allow_http, scheme in ((False, "https"), (True, "http")):
        refused(f"{scheme}://{host}/told?token={TOKEN}", HttpAgentCaller(allow_http, (), 20))
        refused(f"{scheme}://{host}:8443/told?token={TOKEN}", HttpAgentCaller(allow_http, (), 20))


@pytest.mark.parametrize("host", METADATA_HOSTS.split())
def test_a_clouds_metadata_is_called_by_no_spelling_of_its_address(host: str) -> None:
    assert refused(f"https://{host}/latest/{TOKEN}", HttpAgentCaller(False, (), 20)).failure is CallFailure.DENIED


@pytest.mark.parametrize(
    "name", ["metadata.google.internal", "metadata.google.internal.", "METADATA", "xn--metadata", "agent.example."]
)
@pytest.mark.parametrize("addresses", [["169.254.169.254"], ["1.1.1.1", "10.0.0.1"], ["2606:4700::1111", "::1"]])
def test_a_name_is_what_it_leads_to_and_all_that_it_leads_to(name: str, addresses: list[str]) -> None:
    names = dict.fromkeys((name, name.lower()), addresses)
    answer = refused(f"https://{name}/{TOKEN}", HttpAgentCaller(False, (), 20), names)
    assert answer.failure is CallFailure.DENIED


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("https://user@agent.example/", CallFailure.USER_NAME),
        ("https://:pw@agent.example/", CallFailure.USER_NAME),
        ("https://agent.example@127.0.0.1/", CallFailure.USER_NAME),
        ("https://127.0.0.1#@agent.example/", CallFailure.DENIED),
        ("https://127.0.0.1\\@agent.example/", None),
        ("https://agent.example:22/", CallFailure.PORT),
        ("https://agent.example:25/", CallFailure.PORT),
        ("https://agent.example:80/", CallFailure.PORT),
        ("https://agent.example:0/", None),
        ("https://agent.example:-1/", None),
        ("https://agent.example:１/", None),
        ("http://agent.example/", CallFailure.NOT_HTTPS),
        ("HTTP://agent.example/", CallFailure.NOT_HTTPS),
        ("gopher://agent.example/", CallFailure.NOT_HTTPS),
        ("file:///etc/passwd", CallFailure.NOT_HTTPS),
        ("ftp://agent.example/", CallFailure.NOT_HTTPS),
        ("data:text/plain,x", CallFailure.NOT_HTTPS),
        ("javascript:alert(1)", CallFailure.NOT_HTTPS),
        ("https+unix://agent.example/", CallFailure.NOT_HTTPS),
        ("//agent.example/", CallFailure.NOT_HTTPS),
        ("https:agent.example", CallFailure.NO_HOST),
        ("https:///", CallFailure.NO_HOST),
        ("https://agent.example\r\nHost: x/", None),
        ("https://a b/", None),
        ("https://[::1/", None),
        ("https://" + "a" * 300 + ".example/", None),
    ],
)
def test_an_address_is_refused_for_what_is_wrong_in_it(url: str, failure: CallFailure | None) -> None:
    """None: refused, and which reason comes first does not matter."""
    answer = refused(url + TOKEN, HttpAgentCaller(False, (), 20), {"127.0.0.1": ["127.0.0.1"]})
    assert failure is None or answer.failure is failure


@pytest.mark.parametrize("url", ["https://agent.example/", "https://agent.example:443/", "https://agent.example:8443/"])
def test_a_good_address_gets_as_far_as_its_name(url: str) -> None:
    assert refused(url, HttpAgentCaller(False, (), 20), {}).failure is CallFailure.NO_ADDRESS


def test_a_name_that_changes_its_mind_is_not_asked_again() -> None:
    """DNS rebinding: it leads to a good address while it is checked, to another when it is connected."""
    asked: list[str] = []

    async def run() -> tuple[CallbackAnswer, int]:
        async with canned(http_json({"ret": True})) as server:
            known = {"agent.example": ["127.0.0.1"]}
            answers = resolver(known)

            async def changing(host: str, port: int, **more: object) -> Any:
                asked.append(host)
                found = await answers(host, port, **more)
                known["agent.example"] = ["10.0.0.1"]
                return found

            asyncio.get_running_loop().getaddrinfo = changing  # type: ignore[assignment, method-assign] # of this loop only
            caller = HttpAgentCaller(True, LOOPBACK, 20)
            return await caller.post(f"http://agent.example:{server.port}/", b"", {}), server.connections

    answer, connections = asyncio.run(run())
    assert (answer.delivered, connections, asked) == (True, 1, ["agent.example"])


def test_every_call_checks_anew() -> None:
    async def run() -> list[CallFailure | None]:
        async with canned(http_json({"ret": True})) as server:
            caller, url = HttpAgentCaller(True, LOOPBACK, 20), f"http://agent.example:{server.port}/"
            return [(await post(url, caller, {"agent.example": [ip]})).failure for ip in ("127.0.0.1", "10.0.0.1")]

    assert asyncio.run(run()) == [None, CallFailure.DENIED]


def called(*answers: bytes, talk: Talk | None = None, timeout_s: float = 20) -> tuple[CallbackAnswer, int]:
    """What came of a call to a server on this machine, and how often it was connected to."""

    async def run() -> tuple[CallbackAnswer, int]:
        async with canned(*answers, talk=talk) as server:
            answer = await post(f"{server.base}/{TOKEN}", HttpAgentCaller(True, LOOPBACK, timeout_s))
            return answer, server.connections

    return asyncio.run(run())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to", ["/again", "http://169.254.169.254/latest", "https://agent.example/", "//10.0.0.1/", "file:///etc/passwd"]
)
def test_no_redirect_is_followed(status: int, to: str) -> None:
    answer, connections = called(
        http('{"ret":true}', f"{status} Elsewhere", f"Location: {to}", "Refresh: 0; url=/again")
    )
    assert (answer.delivered, answer.status, connections) == (False, status, 1)


def drip(*pieces: bytes, every_s: float = 0.02) -> Talk:
    """Sends the first piece, then the others again and again."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(pieces[0])
        while not writer.is_closing():
            for piece in pieces[1:]:
                writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        drip(b"", b"H"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", every_s=0.1),
        drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", b";x"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    ],
    ids=["status", "headers", "header", "body", "chunks", "chunk extension", "100 Continue", "until closed"],
)
def test_who_answers_by_the_drop_is_left_when_the_time_is_over(talk: Talk) -> None:
    answer, connections = called(talk=talk, timeout_s=0.5)
    assert (answer.delivered, answer.status, connections) == (False, None, 1)
    assert answer.failure in (CallFailure.TIMEOUT, CallFailure.BROKE_OFF)


@pytest.mark.parametrize(
    "talk",
    [
        drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000, every_s=0),
        drip(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 10_000, every_s=0),
        drip(b"HTTP/1.1 200 ", b"OK" * 10_000, every_s=0),
    ],
    ids=["headers", "header", "status"],
)
def test_a_head_without_end_is_broken_off(talk: Talk) -> None:
    answer, _ = called(talk=talk)
    assert (answer.status, answer.failure) == (None, CallFailure.BROKE_OFF)


def test_a_body_without_end_is_read_up_to_its_cap() -> None:
    answer, _ = called(talk=drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000, every_s=0))
    assert (answer.delivered, answer.status, len(answer.answer)) == (False, 200, 2_000)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_packed_body_is_unpacked_no_further_than_its_cap(layers: int) -> None:
    """50 MB of blanks in 50 kB; the same packed twice, under one name and under two."""
    bomb, names = b" " * 50_000_000, ["gzip"] * layers
    for _ in range(layers):
        bomb = gzip.compress(bomb)
    sent = http(bomb, "200 OK", f"Content-Encoding: {', '.join(names)}")
    tracemalloc.start()
    try:
        answer, _ = called(sent)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not answer.delivered
    assert len(answer.answer) <= 2_000
    assert peak < 2_000_000  # of 50,000,000; aiohttp unpacks piece by piece


Failing = Callable[[int], str]


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whatever comes first, a TLS greeting too, is answered at once with what is neither TLS nor HTTP."""
    await reader.read(65_536)
    writer.write(b"HTTP/1.1 200 OK\r\nX\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "url",
    [
        lambda port: f"http://127.0.0.1:{port}/{TOKEN}?token={TOKEN}",
        lambda port: f"https://127.0.0.1:{port}/{TOKEN}?token={TOKEN}",
        lambda _: f"http://127.0.0.1:1/{TOKEN}",
        lambda _: f"http://10.0.0.1/{TOKEN}",
        lambda _: f"http://{TOKEN}@agent.example/",
        lambda _: f"http://[{TOKEN}/",
        lambda _: f"ftp://agent.example/{TOKEN}",
    ],
    ids=["garbage", "no TLS", "port", "denied", "user", "no URL", "scheme"],
)
def test_an_address_is_in_no_log_and_no_failure(
    url: Failing, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> tuple[CallbackAnswer, str | None]:
        async with canned(talk=garbage) as server:
            caller, to = HttpAgentCaller(True, LOOPBACK, 20), url(server.port)
            return await caller.post(to, b"orderNo=1", {}), await caller.trouble(to)

    caplog.set_level("DEBUG")
    with capture_logs() as logged:
        answer, trouble = asyncio.run(run())
    said = capfd.readouterr()
    assert not answer.delivered
    for text in (answer.answer, trouble or "", str(logged), caplog.text, said.out, said.err):
        assert TOKEN not in text
