"""A sandbox listening on loopback, for tests that speak HTTP to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import aiohttp

from pipeline.railway.sandbox.web import serve
from pipeline.railway.sandbox.world import World, open_world
from tests.unit.sandbox_world import ACCOUNT, HOLD_NO, PASSWORD, StandingClock

AJAX = {"X-Requested-With": "XMLHttpRequest"}


@dataclass(frozen=True, slots=True)
class Caller:
    """A browser without scripts: cookies, forms, no redirects."""

    world: World
    clock: StandingClock
    http: aiohttp.ClientSession
    base: str

    async def ajax(self, path: str, **form: str) -> Any:
        async with self.http.post(self.base + path, data={"_json_att": "", **form}, headers=AJAX) as answer:
            return await answer.json()

    async def page(self, path: str, **form: str) -> str:
        async with self.http.post(self.base + path, data=form) as answer:
            return await answer.text()

    async def log_in(self) -> None:
        async with self.http.get(f"{self.base}/otn/login/init") as answer:
            await answer.read()
        said = await self.ajax(
            "/otn/login/loginAysnSuggest", **{"loginUserDTO.user_name": ACCOUNT, "userDTO.password": PASSWORD}
        )
        assert said["data"].get("loginCheck") == "Y", said
        await self.page("/otn/login/userLogin", _json_att="")

    async def walk(self, hold_no: str = HOLD_NO) -> dict[str, str]:
        """From the held order to the cashier's form: its 17 fields."""
        queried = await self.ajax("/otn/queryOrder/continuePayNoCompleteMyOrder", sequence_no=hold_no, pay_flag="pay")
        assert queried["data"] == {"existError": "N"}, queried
        checked = await self.ajax("/otn/payOrder/paycheckNew")
        pay_form = checked["data"]["payForm"]
        gateway = inputs(await self.page("/pay/payGateway", **pay_form))
        return inputs(await self.page("/pay/webBusiness", **gateway, bankId="33000010"))

    async def submit(self, fields: dict[str, str], timeout_s: float = 5) -> tuple[int, bytes]:
        async with self.http.post(
            f"{self.base}/cashier/gateway.do",
            data=fields,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as answer:
            return answer.status, await answer.read()

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, self.base + path, json=body) as answer:
            return answer.status, await answer.json()


def inputs(page: str) -> dict[str, str]:
    """Names and values of a page's hidden inputs."""
    found: dict[str, str] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            named = dict(attrs)
            if tag == "input":
                found[named["name"] or ""] = named["value"] or ""

    Reader().feed(page)
    return found


@asynccontextmanager
async def listening(clock: StandingClock) -> AsyncIterator[Caller]:
    world = open_world(clock, None)
    server = await serve(world, "127.0.0.1", 0)
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of a bare address
    try:
        async with aiohttp.ClientSession(cookie_jar=jar) as http:
            yield Caller(world, clock, http, f"http://127.0.0.1:{server.port}")
    finally:
        await server.close()
        world.close()


def call(story: Callable[[Caller], Awaitable[None]]) -> None:
    """Run `story` against a sandbox of its own."""

    async def run() -> None:
        async with listening(StandingClock()) as caller:
            await story(caller)

    asyncio.run(run())
