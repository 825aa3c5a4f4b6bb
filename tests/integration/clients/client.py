"""What the three families of agents' programs have in common: they poll, ask, are called back, and note what they did."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from pipeline.http_server import HttpServer
from tests.integration.clients.counter import Counter, Held

Json = dict[str, Any]


@dataclass
class Job:
    """One order as the client sees it. `did` names its steps, for a failing test to show."""

    order: Json
    held: Held | None = None
    state: str = "NEW"
    pay_status: str | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)
    did: list[str] = field(default_factory=list)

    @property
    def order_no(self) -> str:
        return str(self.order["orderNo"])

    def move(self, state: str, why: str) -> None:
        self.state = state
        self.did.append(f"{state}: {why}")


class Client(ABC):
    """Runs until every order it was given is at an end of its own. Seconds of the sheet are scaled by `scale`."""

    ends: ClassVar[frozenset[str]]
    poll_s: ClassVar[float] = 8.0

    def __init__(self, base: str, code: str, key: str, counter: Counter, prefix: str, scale: float = 1 / 60) -> None:
        self.base, self.code, self.key, self.counter = base, code, key, counter
        self.prefix, self.scale = prefix, scale
        self.jobs: dict[str, Job] = {}
        self.refused_callbacks = 0
        self.deaf_to: set[str] = set()  # orders whose callbacks are lost on the way
        self._numbers = itertools.count(1)
        self._working: dict[str, asyncio.Task[None]] = {}
        self._calls = HttpServer(self._app())

    # -- the wire ----------------------------------------------------------------------------------------------

    def sign(self, *texts: str) -> str:
        return hashlib.md5("".join((self.key, *texts)).encode(), usedforsecurity=False).hexdigest().upper()

    async def send(self, path: str, body: bytes | None) -> Json:
        """GET without a body. On a network error or a status from 500 again after a second, for ever (wire-protocols D.4)."""
        while True:
            try:
                async with aiohttp.ClientSession() as http:
                    method = "GET" if body is None else "POST"
                    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
                    async with http.request(method, self.base + path, data=body, headers=headers) as answer:
                        if answer.status < 500:
                            return self.parsed(await answer.text("utf-8"))
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(1.0)

    def parsed(self, text: str) -> Json:
        found: Json = json.loads(text)
        return found

    async def list_orders(self, path: str) -> list[Json]:
        query = f"merchantCode={self.code}&type=WAIT_TICKET&HMAC={self.sign(self.code, 'WAIT_TICKET')}"
        answer = await self.send(f"{path}?{query}", None)
        assert answer["ret"] is True, answer
        assert answer["total"] == len(answer["data"])
        return list(answer["data"])

    # -- callbacks ---------------------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        async def callback(request: web.Request) -> web.Response:
            form = dict(parse_qsl((await request.read()).decode("utf-8")))
            if form["orderNo"] in self.deaf_to:
                return web.Response(status=500)
            return web.json_response(self.told(form))

        app = web.Application()
        app.add_routes([web.post("/callback", callback)])
        return app

    async def listen(self) -> str:
        """Its callback address."""
        return f"http://{await self._calls.start('127.0.0.1', 0)}/callback"

    def told(self, form: Mapping[str, str]) -> Json:
        """What it answers to a payStatus."""
        job = self.jobs.get(form["orderNo"])
        if job is None:
            return {"ret": False, "msg": "未知的订单号"}
        job.did.append(f"payStatus {form['payStatus']}")
        job.pay_status = form["payStatus"]
        job.told.set()
        return {"ret": True}

    # -- its loop ----------------------------------------------------------------------------------------------

    @abstractmethod
    async def poll(self) -> list[Json]:
        """The orders that wait for a ticket."""

    @abstractmethod
    async def work(self, job: Job) -> None:
        """One order from hold to end."""

    async def run(self, order_nos: set[str], within_s: float) -> None:
        """Poll and work until all of these orders are at an end. Raises AssertionError naming those that are not."""
        end = asyncio.get_running_loop().time() + within_s
        try:
            while not self.done(order_nos):
                assert asyncio.get_running_loop().time() < end, self.story(order_nos)
                for order in await self.poll():
                    self.take(order)
                await asyncio.sleep(self.poll_s * self.scale * 2)
                for task in self._working.values():
                    if task.done():
                        task.result()
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)
            await self._calls.close()

    def take(self, order: Json) -> None:
        """A new order; those that are known are passed over (clients de-duplicate by orderNo)."""
        if order["orderNo"] not in self.jobs:
            job = self.jobs[order["orderNo"]] = Job(order)
            self._working[job.order_no] = asyncio.create_task(self.work(job))

    async def hold(self, job: Job) -> Held:
        number = f"E{self.prefix}{next(self._numbers):08d}"
        job.held = await self.counter.hold(number, job.order)
        job.move("HELD", number)
        return job.held

    def done(self, order_nos: set[str]) -> bool:
        return all(number in self.jobs and self.jobs[number].state in self.ends for number in order_nos)

    def story(self, order_nos: set[str]) -> str:
        open_ones = [self.jobs.get(number) for number in sorted(order_nos)]
        lines = [
            f"{job.order_no} {job.did}" if job is not None else "never seen"
            for job in open_ones
            if job is None or job.state not in self.ends
        ]
        return f"{type(self).__name__}: " + "\n".join(lines)
