"""Calls to agents' addresses: what may be called, what counts as delivered, what is kept."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from pipeline.outbound import DENIED, HttpAgentCaller, why_denied
from pipeline.ports import CallbackAnswer
from tests.unit.canned_server import canned, http, http_json

LOOPBACK = (ip_network("127.0.0.0/8"),)
SECRET_PATH = "/notify/7f3a"

DENIED_ADDRESSES = (
    "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.255.255.254 169.254.169.254",
    "172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7",
    "203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8",
    "::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:2::1 2001:db8::1 3fff::1 5f00::1 100::1",
    "fc00::1 fd12:3456::1 fe80::1 fe80::1%2 fec0::1 ff02::1 4000::1",
)
ALLOWED_ADDRESSES = (
    "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.0.1.1",
    "198.17.255.255 198.20.0.1 223.5.5.5 2400:3200::1 2606:4700::1111 2a00:1450::1",
)


def call(
    url: str, caller: HttpAgentCaller, names: dict[str, list[str]] | None = None, headers: dict[str, str] | None = None
) -> CallbackAnswer:
    return asyncio.run(post(url, caller, names, headers))


async def post(
    url: str, caller: HttpAgentCaller, names: dict[str, list[str]] | None = None, headers: dict[str, str] | None = None
) -> CallbackAnswer:
    """Post a form; `names` is what the loop's resolver knows."""
    if names is not None:
        asyncio.get_running_loop().getaddrinfo = resolver(names)  # type: ignore[method-assign]  # the loop's own resolver, for this loop only
    return await caller.post(url, b"orderNo=demo1&payStatus=1&HMAC=00", headers or {"webhook-id": "msg_1"})


def resolver(names: dict[str, list[str]]) -> Callable[..., Any]:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        if host not in names:
            raise socket.gaierror("unknown")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in names[host]
        ]

    return getaddrinfo


def answered_by(answer: bytes, *, headers: dict[str, str] | None = None) -> tuple[CallbackAnswer, list[bytes]]:
    async def run() -> tuple[CallbackAnswer, list[bytes]]:
        async with canned(answer) as server:
            caller = HttpAgentCaller(True, LOOPBACK, 5)
            return await post(server.base + SECRET_PATH, caller, headers=headers), server.requests

    return asyncio.run(run())


@pytest.mark.parametrize("address", " ".join(DENIED_ADDRESSES).split())
def test_an_address_inside_a_denied_network_is_denied(address: str) -> None:
    assert why_denied(ip_address(address), ()) is not None


@pytest.mark.parametrize("address", " ".join(ALLOWED_ADDRESSES).split())
def test_a_public_address_is_allowed(address: str) -> None:
    assert why_denied(ip_address(address), ()) is None


def test_every_row_of_the_deny_table_denies_its_first_address() -> None:
    for network, _ in DENIED:
        assert why_denied(network.network_address, ()) is not None


def test_a_setting_lets_a_local_network_in_and_no_other() -> None:
    assert why_denied(ip_address("127.0.0.1"), LOOPBACK) is None
    assert why_denied(ip_address("10.0.0.1"), LOOPBACK) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://agent.example/cb",
        "ftp://agent.example/cb",
        "file:///etc/passwd",
        "https://user@agent.example/cb",
        "https://user:pw@agent.example/cb",
        "https:///cb",
        "/cb",
        "",
        "https://[::1",
        "https://agent.example:99999/cb",
        "https://127.0.0.1/cb",
        "https://2130706433/cb",
        "https://0x7f.1/cb",
        "https://[::ffff:127.0.0.1]/cb",
        "https://localhost/cb",
    ],
)
def test_an_address_that_may_not_be_called_is_refused_without_a_call(url: str) -> None:
    answer = call(url, HttpAgentCaller(False, (), 5))
    assert (answer.delivered, answer.status) == (False, None)
    assert "callback" in answer.answer
    assert "/cb" not in answer.answer


def test_one_denied_address_behind_a_name_refuses_the_whole_name() -> None:
    async def run() -> tuple[CallbackAnswer, int]:
        async with canned(http_json({"ret": True})) as server:
            caller = HttpAgentCaller(True, LOOPBACK, 5)
            names = {"agent.example": ["127.0.0.1", "10.0.0.1"]}
            return await post(f"http://agent.example:{server.port}/cb", caller, names), server.connections

    answer, connections = asyncio.run(run())
    assert "denied address: private" in answer.answer
    assert connections == 0


def test_the_connection_goes_to_the_checked_address_and_keeps_the_name() -> None:
    async def run() -> tuple[CallbackAnswer, bytes]:
        async with canned(http_json({"ret": True})) as server:
            caller = HttpAgentCaller(True, LOOPBACK, 5)
            names = {"agent.example": ["127.0.0.1"]}  # known to the check alone: a second look-up would fail
            answer = await post(f"http://agent.example:{server.port}/cb", caller, names)
            return answer, server.requests[0]

    answer, request = asyncio.run(run())
    assert answer.delivered
    assert b"\r\nHost: agent.example:" in request


def test_the_form_goes_out_as_stored_with_its_headers() -> None:
    answer, requests = answered_by(http_json({"ret": True}), headers={"webhook-id": "msg_1", "user-agent": "x"})
    assert answer.delivered
    head, body = requests[0].split(b"\r\n\r\n", 1)
    assert head.startswith(f"POST {SECRET_PATH} HTTP/1.1".encode())
    assert b"webhook-id: msg_1" in head
    assert b"Content-Type: application/x-www-form-urlencoded" in head
    assert head.lower().count(b"user-agent") == 1
    assert body == b"orderNo=demo1&payStatus=1&HMAC=00"


@pytest.mark.parametrize("body", ['{"ret":true}', '{"ret":"true"}', '{"ret":"TRUE","x":1}', ' {"ret": "True"} '])
def test_ret_true_is_delivered(body: str) -> None:
    assert answered_by(http(body))[0].delivered


@pytest.mark.parametrize(
    "body",
    ['{"ret":false}', '{"ret":1}', '{"ret":null}', "{}", "[]", "true", "success|demo1", "", "[" * 19_000, "\xff"],
)
def test_anything_else_is_not_delivered(body: str) -> None:
    answer = answered_by(http(body.encode("latin-1")))[0]
    assert (answer.delivered, answer.status) == (False, 200)


@pytest.mark.parametrize("status", ["300 Multiple", "400 Bad", "404 Not Found", "500 Error", "503 Busy"])
def test_ret_true_under_another_status_is_not_delivered(status: str) -> None:
    answer = answered_by(http('{"ret":true}', status))[0]
    assert (answer.delivered, answer.status) == (False, int(status[:3]))


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    answer, requests = answered_by(http("", "307 Elsewhere", "Location: /again"))
    assert (answer.delivered, answer.status, len(requests)) == (False, 307, 1)


def test_410_means_gone() -> None:
    assert answered_by(http("", "410 Gone"))[0].gone


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), None),
        (("Retry-After: 120",), 120.0),
        (("Retry-After: soon",), None),
        (("Retry-After: -5",), None),
        (("Retry-After: Sun, 06 Nov 2034 08:50:37 GMT", "Date: Sun, 06 Nov 2034 08:49:37 GMT"), 60.0),
        (("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT",), 0.0),
        (("Retry-After: Sun, 06 Nov 99999999999 08:49:37 GMT",), None),
    ],
)
def test_retry_after_is_honoured_in_both_forms(headers: tuple[str, ...], seconds: float | None) -> None:
    assert answered_by(http("", "429 Slow", *headers))[0].retry_after_s == seconds


def test_two_thousand_characters_of_an_answer_are_kept() -> None:
    assert answered_by(http("长" * 5_000))[0].answer == "长" * 2_000


def test_an_answer_is_read_up_to_its_cap_and_then_left() -> None:
    answer = answered_by(http('{"ret":true,"x":"' + "a" * 30_000 + '"}'))[0]
    assert (answer.delivered, len(answer.answer)) == (False, 2_000)


def test_an_answer_is_storable_whatever_its_bytes_are() -> None:
    assert answered_by(http(b"a\x00b\xff"))[0].answer == "a\ufffdb\ufffd"


def test_a_silent_agent_ends_at_the_time_out() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> CallbackAnswer:
        async with canned(talk=silent) as server:
            return await post(server.base + SECRET_PATH, HttpAgentCaller(True, LOOPBACK, 0.05))

    answer = asyncio.run(run())
    assert (answer.delivered, answer.status, answer.answer) == (False, None, "no answer within 0.05 s")


@pytest.mark.parametrize("answer", [b"", b"NONSENSE\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_a_broken_answer_is_a_failure_in_words_without_the_address(answer: bytes) -> None:
    told = answered_by(answer)[0]
    assert not told.delivered
    assert told.answer.startswith("no answer")
    assert SECRET_PATH not in told.answer


def test_a_refused_connection_is_a_failure_in_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        answer = call(f"http://127.0.0.1:{port}/cb", HttpAgentCaller(True, LOOPBACK, 5))
    assert answer.answer == "no answer (ClientConnectorError)"
