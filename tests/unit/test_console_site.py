"""The console where a process serves it: beside the doors, or alone on an address of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.cli.door import DoorPart
from pipeline.cli.home import prepare_home
from pipeline.cli.house import open_house
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.store import migrate
from pipeline.vault import KeyRing
from tests.unit.console_house import console_at

ANY_PORT = "127.0.0.1:0"
Visit = Callable[[DoorPart, aiohttp.ClientSession], Awaitable[None]]


def served(home: Path, visit: Visit, **settings: Any) -> None:
    """Doors and console as `daifu serve` has them."""

    async def run() -> None:
        known = Settings.model_validate({"home": home, "http_listen": ANY_PORT} | settings)
        prepare_home(known)
        migrate.upgrade(known.database)
        house = open_house(known, "test")
        keys = KeyRing.load(known.service_keys_path)
        door = DoorPart(house, KeyRing.load(known.vault_path).public, keys, Secret("an invented token"))
        await door.start()
        try:
            async with aiohttp.ClientSession() as session:
                await visit(door, session)
        finally:
            await door.finish(1.0)
            await house.close()

    asyncio.run(run())


async def status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url, allow_redirects=False) as answer:
        return answer.status


def test_doors_and_console_share_an_address(tmp_path: Path) -> None:
    async def visit(door: DoorPart, session: aiohttp.ClientSession) -> None:
        assert door.console_url == door.url
        assert await status(session, f"{door.url}/login") == 200
        assert await status(session, f"{door.url}/orders") == 303
        assert await status(session, f"{door.url}/am/vault-key") == 401
        async with session.get(f"{door.url}/api/pub//NoSuch.do") as answer:
            assert (answer.status, (await answer.json())["errCode"]) == (200, "104")

    served(tmp_path, visit)


def test_with_an_address_of_its_own_the_console_is_nowhere_else(tmp_path: Path) -> None:
    async def visit(door: DoorPart, session: aiohttp.ClientSession) -> None:
        assert door.console_url != door.url
        assert await status(session, f"{door.console_url}/login") == 200
        assert await status(session, f"{door.url}/login") == 404
        for path in (
            "/am/vault-key",
            "/am/messages",
            "/api/pub/ProcessPurchase.do",
            "/api/pub//QueryOrders.do",
            "/metrics",
        ):
            assert await status(session, f"{door.console_url}{path}") == 404
        for path in ("/orders", "/api/v1/orders", "/static/console.css", "/openapi.json", "/start/x", "/metrics"):
            assert await status(session, f"{door.url}{path}") == 404
        assert await status(session, f"{door.url}/am/vault-key") == 401

    served(tmp_path, visit, console_listen="127.0.0.2:0")


def test_an_address_that_asks_too_often_is_told_so_at_each_door_in_its_own_way(tmp_path: Path) -> None:
    async def visit(door: DoorPart, session: aiohttp.ClientSession) -> None:
        assert [await status(session, f"{door.console_url}/login") for _ in range(4)][-1] == 429
        assert await status(session, f"{door.url}/am/vault-key") == 429
        async with session.post(f"{door.url}/api/pub/ProcessPurchase.do", data=b"x") as answer:
            assert (answer.status, (await answer.json())["errCode"]) == (200, "429")

    served(tmp_path, visit, console_listen="127.0.0.2:0", address_rate=0.001)


def test_the_first_start_gives_a_link_that_signs_in(tmp_path: Path) -> None:
    async def visit(door: DoorPart, session: aiohttp.ClientSession) -> None:
        first = await door.first_sign_in()
        async with session.get(first["first_sign_in"]) as answer:
            assert answer.status == 200
            assert "第一位主管" in await answer.text()

    served(tmp_path, visit)


@pytest.mark.parametrize(
    ("railway", "shown"),
    [("http://127.0.0.1:8307", True), ("https://kyfw.12306.cn", False), ("https://kyfw.12306.cn.example", True)],
)
def test_a_sandbox_is_shown_as_that(tmp_path: Path, railway: str, *, shown: bool) -> None:
    async def visit(door: DoorPart, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{door.console_url}/login") as answer:
            assert ("SANDBOX" in await answer.text()) is shown

    served(tmp_path, visit, railway_url=railway, cashier_url="http://127.0.0.1:1")


def test_a_forwarded_address_counts_only_from_a_proxy_of_ours(tmp_path: Path) -> None:
    said = {"X-Forwarded-For": "203.0.113.7, 127.0.0.1", "X-Forwarded-Proto": "https"}

    async def behind_ours(door: DoorPart, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{door.url}/login", headers=said) as answer:
            assert "Strict-Transport-Security" in answer.headers
            assert "Secure" in answer.headers["Set-Cookie"]

    async def from_anybody(door: DoorPart, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{door.url}/login", headers=said) as answer:
            assert "Strict-Transport-Security" not in answer.headers
            assert "Secure" not in answer.headers["Set-Cookie"]

    served(tmp_path / "ours", behind_ours, console_proxies="127.0.0.0/8")
    served(tmp_path / "any", from_anybody)


def test_two_consoles_of_one_process_each_know_their_own_people(tmp_path: Path) -> None:
    """They share what FastAPI works out about the routes, and nothing else."""
    with (
        console_at(f"sqlite:///{tmp_path / 'one.db'}", tmp_path) as one,
        console_at(f"sqlite:///{tmp_path / 'other.db'}", tmp_path) as other,
    ):
        carol = one.signed_in("carol")
        stranger = other.browser(cookies=dict(carol.cookies))
        assert stranger.get("/account").goes_to.startswith("/login")
        assert carol.get("/account").status == 200
