"""Who is turned away is in the log, once a minute and without what they sent; answers tell nothing of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from pipeline.cli.output import emit, note
from pipeline.console.visit import place_of
from pipeline.secret import Secret
from producers.am_door import create_door
from producers.refusal_log import EVERY_S, MOST, RefusalLog
from tests.unit.agents_visit import NEED_PAY, PURCHASE, Visit, at_the_door, signed

TOKEN = "an invented bearer token"
PHONE = "186" + "12345678"


def lines_of(logged: Any) -> list[tuple[str, str, int]]:
    return [(line["why"], line["address"], line["unsaid"]) for line in logged]


def test_a_flood_is_one_line_a_minute_for_each_kind() -> None:
    log = RefusalLog("agents")
    with capture_logs() as logged:
        for second in range(100):
            log.note("202", "192.0.2.1", float(second))
        log.note("202", "192.0.2.2", 5.0)
        log.note("101", "192.0.2.1", 5.0)
    assert lines_of(logged) == [
        ("202", "192.0.2.1", 0), ("202", "192.0.2.1", int(EVERY_S) - 1), ("202", "192.0.2.2", 0), ("101", "192.0.2.1", 0),
    ]  # fmt: skip


def test_addresses_without_end_do_not_fill_the_memory() -> None:
    log = RefusalLog("agents")
    with capture_logs() as logged:
        for number in range(3 * MOST):
            log.note("202", f"192.0.2.{number}", 0.0)
    assert len(logged) == 3 * MOST
    assert len(log._told) == MOST


def test_the_agents_door_says_who_was_turned_away_and_why_and_nothing_of_what_was_sent() -> None:
    async def visit(visit: Visit) -> None:
        forged = {**signed(NEED_PAY), "comment": PHONE}
        assert await visit.code(PURCHASE, {**forged, "orderNo": "other"}) is not None
        assert await visit.code(PURCHASE, {**forged, "merchantCode": f"nobody\r\n{PHONE}"}) is not None
        assert await visit.code("/api/pub/Nothing.do", {}) is not None

    with capture_logs() as logged:
        at_the_door(visit)
    said = [(line["event"], line["door"], line["asked"], line["agent"], line["address"]) for line in logged]
    assert said == [
        ("door_refused", "agents", "need_pay", signed(NEED_PAY)["merchantCode"], "127.0.0.1"),
        ("door_refused", "agents", "need_pay", "", "127.0.0.1"),
        ("door_refused", "agents", "unknown", "", "127.0.0.1"),
    ]
    assert PHONE not in str(logged)
    assert len({line["why"] for line in logged}) == 3


def at_the_am_door(visit: Callable[[TestClient[web.Request, web.Application]], Awaitable[None]]) -> None:
    async def accept(messages: list[Any]) -> list[str]:
        return ["accepted"] * len(messages)

    async def run() -> None:
        app = create_door(accept, lambda: ("k1", "A" * 43), Secret(TOKEN))
        async with TestClient(TestServer(app)) as client:
            await visit(client)

    asyncio.run(run())


def test_the_am_door_says_who_came_without_its_token() -> None:
    async def visit(client: TestClient[web.Request, web.Application]) -> None:
        for header in ("Bearer wrong", f"Bearer {TOKEN}"):
            answer = await client.get("/am/vault-key", headers={"Authorization": header})
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"

    with capture_logs() as logged:
        at_the_am_door(visit)
    assert [(line["door"], line["why"]) for line in logged] == [("am", "no_token")]
    assert "wrong" not in str(logged).replace("no_token", "")


def test_the_agents_door_is_not_cached_not_sniffed_and_does_not_tell_its_version() -> None:
    async def visit(visit: Visit) -> None:
        head = await visit.send(f"GET {PURCHASE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert b"\r\nCache-Control: no-store\r\n" in head
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
        assert b"\r\nServer: daifu\r\n" in head
        assert b"aiohttp" not in head

    at_the_door(visit)


def test_a_place_in_the_log_is_the_route_and_not_what_was_sent() -> None:
    class Route:
        path = "/start/{token}"

    assert place_of({"type": "http", "path": "/start/abc", "route": Route()}) == "/start/{token}"
    assert place_of({"type": "http", "path": "/start/abc"}) == ""


def test_a_text_from_outside_can_not_play_with_a_terminal(capsys: Any) -> None:
    evil = "a\x1b[2J\x1b]0;title\x07b\x9b31m\u202egnp.exe\tc\nd\r"
    emit(evil, json_=False, human=lambda: evil)
    note(evil)
    out, err = capsys.readouterr()
    assert out == err == "a\\x1b[2J\\x1b]0;title\\x07b\\x9b31m\\u202egnp.exe\tc\nd\\x0d\n"
