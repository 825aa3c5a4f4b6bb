"""An agent's program at the door, on a real address: requests signed as the sheet says, and raw bytes as nobody should send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from pipeline.agent_asks import AgentAsk, AgentReply, DeskUnavailable, Listing
from pipeline.clock import WallClock
from pipeline.http_server import HttpServer
from pipeline.metrics import Metrics
from pipeline.secret import Secret
from pipeline.vault import KeyRing
from producers.agents_door import AgentsDoor
from producers.agents_reading import Rules
from producers.rate_limit import RateLimit
from schemas.tts_signature import PROCESS_GO_PAY, PROCESS_PURCHASE, QUERY_ORDERS, need_pay_fields, signature
from tests.contract.tts_vectors import KEY, MERCHANT, ORDER_NO

PASSWORD: Final = "Passw0rd"
PARAMETER: Final = "pw"
PURCHASE, GO_PAY, QUERY = "/api/pub/ProcessPurchase.do", "/api/pub/ProcessGoPay.do", "/api/pub/QueryOrders.do"
NEED_PAY: Final[Mapping[str, str]] = {
    "merchantCode": MERCHANT,
    "orderNo": ORDER_NO,
    "opt": "NEED_PAY",
    "un": "agent_user01",
    "pw": PASSWORD,
    "comment": "代付请求",
}


def signed(fields: Mapping[str, str], formula: tuple[str, ...] | None = None) -> dict[str, str]:
    """With its HMAC. The formula follows from the fields unless it is given."""
    if formula is None:
        if "opt" in fields:
            formula = need_pay_fields("pw") if fields["opt"] == "NEED_PAY" else PROCESS_PURCHASE
        else:
            formula = QUERY_ORDERS if "type" in fields else PROCESS_GO_PAY
    return {**fields, "HMAC": signature(KEY, [fields.get(name, "") for name in formula])}


def raw(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


@dataclass
class FakeDesk:
    """One agent; remembers what was asked and answers as told."""

    reply: AgentReply = field(default_factory=AgentReply)
    listed: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False
    key: Secret = field(default_factory=lambda: Secret(KEY))
    old_keys: tuple[Secret, ...] = ()
    asked: list[AgentAsk] = field(default_factory=list)
    again: list[bool] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    async def merchant_keys(self, code: str) -> tuple[Secret, ...]:
        self.looked_up.append(code)
        if self.down:
            raise DeskUnavailable("no database")
        return (self.key, *self.old_keys) if code == MERCHANT else ()

    async def ask(self, ask: AgentAsk, *, again: bool = False) -> AgentReply:
        if self.down:
            raise DeskUnavailable("no database")
        self.asked.append(ask)
        self.again.append(again)
        return self.reply

    async def orders(self, agent: str, listing: Listing) -> list[dict[str, Any]]:
        return [*self.listed, {"agent": agent, "listing": listing}]


@dataclass
class Visit:
    """The door at its address."""

    port: int
    desk: FakeDesk
    vault: KeyRing
    metrics: Metrics

    async def send(self, content: bytes, *, within_s: float = 20.0) -> bytes:
        """Write bytes on a connection of its own, read until the door closes it or has answered once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(content)
            async with asyncio.timeout(within_s):
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                return head + await reader.readexactly(length)
        finally:
            writer.transport.abort()

    async def request(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Any:
        """The decoded answer; asserts what is true of every answer: HTTP 200, JSON, UTF-8."""
        verb = method or ("GET" if body is None else "POST")
        lines = [f"{verb} {path} HTTP/1.1", "Host: daifu", "Connection: close"]
        if body is not None:
            lines.append("Content-Type: application/x-www-form-urlencoded; charset=UTF-8")
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        answer = await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"application/json; charset=utf-8" in head
        return json.loads(content.decode("utf-8"))

    async def post(self, path: str, fields: Mapping[str, str]) -> Any:
        """As l9e sends: percent-encoded."""
        return await self.request(path, urlencode(fields).encode())

    async def code(self, path: str, fields: Mapping[str, str]) -> str | None:
        """The errCode, None for `ret` true."""
        answer = await self.post(path, fields)
        assert isinstance(answer["ret"], bool)
        if answer["ret"]:
            assert answer == {"ret": True} or set(answer) == {"ret", "data", "total"}
            return None
        assert set(answer) == {"ret", "errCode", "errMsg"}
        assert answer["errMsg"]
        return str(answer["errCode"])


def at_the_door(
    visit: Callable[[Visit], Awaitable[None]],
    *,
    desk: FakeDesk | None = None,
    rate: float = 1_000.0,
    password_signed: bool = True,
    password_parameter: str = PARAMETER,
) -> None:
    """Run `visit` against a door that listens on loopback."""

    async def run() -> None:
        vault, service = KeyRing.generate(), KeyRing.generate()
        rules = Rules(password_parameter, password_signed, vault.public, service.fingerprint)
        found = desk or FakeDesk()
        app = web.Application()
        metrics = Metrics()
        app.add_routes(AgentsDoor(found, rules, RateLimit(rate, WallClock()), metrics.answered).routes())
        server = HttpServer(app)
        address = await server.start("127.0.0.1", 0)
        try:
            await visit(Visit(int(address.rpartition(":")[2]), found, vault, metrics))
        finally:
            await server.close()

    asyncio.run(run())
