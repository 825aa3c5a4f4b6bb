"""The agents' HTTP interface: 出票结果, 代付请求, 订单查询 (INTERFACES section 4, wire-protocols A and D).

Always HTTP 200 with JSON: these clients repeat for ever on anything else. Whatever is refused is refused as early as it can
be: the size before the body, the signature before the database's write, the rate before the work.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import structlog
from aiohttp import web

from pipeline.agent_asks import AgentReply, Desk, DeskUnavailable
from pipeline.requests import ERR_WORDS, ErrCode
from pipeline.secret import Secret
from producers.agents_reading import (
    Refused,
    Rules,
    purchase_signed,
    read_go_pay,
    read_purchase,
    read_query,
    required,
    signing_key,
)
from producers.door_count import GO_PAY, Count, Visit
from producers.rate_limit import RateLimit
from producers.recent_requests import Known, RecentRequests
from producers.refusal_log import RefusalLog
from schemas.tts_forms import Form, FormError, decode
from schemas.tts_signature import PROCESS_GO_PAY, QUERY_ORDERS, SIGNATURE

log = structlog.get_logger()

PREFIX = "/api/pub/"
MAX_BODY_BYTES = 1_000_000
BODY_S = 10.0  # the whole body must be here by then
ANSWER_S = 20.0  # below the clients' 30 s (wire-protocols A.1)
_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Cache-Control": "no-store",  # a list of orders is asked for by GET too
    "X-Content-Type-Options": "nosniff",
}
_DONE = b'{"ret":true}'
_CODE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}", re.ASCII)


class AgentsDoor:
    """One handler for all of `/api/pub/`, as the clients put one or two slashes before the name."""

    def __init__(self, desk: Desk, rules: Rules, rate: RateLimit, count: Count) -> None:
        self._desk, self._rules, self._rate, self._count = desk, rules, rate, count
        self._recent = RecentRequests()
        self._refusals = RefusalLog("agents")
        self._endpoints = {
            "ProcessPurchase.do": self._purchase,
            "ProcessGoPay.do": self._go_pay,
            "QueryOrders.do": self._query,
        }

    def routes(self) -> list[web.RouteDef]:
        """For the application that serves them: the names as they are usually written, which are found at once, and the rest."""
        return [
            *(web.route("*", PREFIX + name, self.handle) for name in self._endpoints),
            web.route("*", PREFIX + "{name:.*}", self.handle),
        ]

    def too_many(self, _request: web.Request) -> web.Response:
        """The answer to an address that asks too often: nothing of its request was looked at."""
        content = _refusal(ErrCode.TOO_MANY)
        self._count(Visit().type, content["errCode"], 0.0)
        response = web.Response(body=_json(content), headers=_HEADERS)
        response.force_close()
        return response

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request; the connection is closed where its body was not read to the end."""
        began = asyncio.get_running_loop().time()
        name = request.match_info.get("name") or request.path.removeprefix(PREFIX)
        name = name[1:] if name.startswith("/") else name
        visit, whole = Visit(), False
        try:
            endpoint = self._endpoints.get(name)
            if endpoint is None:
                raise Refused(ErrCode.UNKNOWN_OPERATION)
            raw = await _raw(request, queried=name == "QueryOrders.do")
            whole = True
            async with asyncio.timeout(ANSWER_S):
                content = await endpoint(raw, visit)
        except Refused as refused:
            content = self._turned_away(request, visit, refused.code, refused.detail)
        except FormError as error:
            content = self._turned_away(request, visit, ErrCode.BAD_PARAMETER, str(error))
        except (DeskUnavailable, TimeoutError):
            content = _refusal(ErrCode.NOT_STORED)
        except Exception as error:  # noqa: BLE001 - on a status of 500 these clients repeat once a second, for ever (A.1)
            log.error("agents_door_failed", endpoint=name[:32], error=type(error).__name__)
            content = _refusal(ErrCode.NOT_STORED)
        self._count(visit.type, content.get("errCode", ""), asyncio.get_running_loop().time() - began)
        response = web.Response(body=_json(content), headers=_HEADERS)
        if not whole:
            response.force_close()
        return response

    def _turned_away(self, request: web.Request, visit: Visit, code: ErrCode, detail: str) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        self._refusals.note(code.value, request.remote or "", now, asked=visit.type, agent=visit.agent)
        return _refusal(code, detail)

    async def _purchase(self, raw: bytes, visit: Visit) -> dict[str, Any]:
        mark = self._recent.mark("purchase", raw)
        if (known := await self._known(mark)) is not None:
            visit.type = known.ask.kind.value
            return _answer(await self._desk.ask(known.ask, again=True))
        form = decode(raw)
        visit.asks_for(form.get("opt"))
        key = await self._enter(visit, form, purchase_signed(form, self._rules))
        ask = read_purchase(form, self._rules)
        self._recent.keep(mark, ask, key)
        return _answer(await self._desk.ask(ask))

    async def _go_pay(self, raw: bytes, visit: Visit) -> dict[str, Any]:
        visit.type = GO_PAY
        mark = self._recent.mark("go_pay", raw)
        if (known := await self._known(mark)) is not None:
            return _answer(await self._desk.ask(known.ask, again=True))
        form = decode(raw)
        key = await self._enter(visit, form, PROCESS_GO_PAY)
        ask = read_go_pay(form, self._rules)
        self._recent.keep(mark, ask, key)
        return _answer(await self._desk.ask(ask))

    async def _known(self, mark: bytes | None) -> Known | None:
        """What these very bytes asked before, if their agent may still sign with that key. Raises Refused, DeskUnavailable."""
        known = self._recent.find(mark)
        if known is None or known.key not in await self._desk.merchant_keys(known.ask.agent):
            return None
        self._allow(known.ask.agent)
        return known

    async def _query(self, raw: bytes, visit: Visit) -> dict[str, Any]:
        form = decode(raw)
        visit.asks_for(form.get("type"))
        await self._enter(visit, form, QUERY_ORDERS)
        query = read_query(form)
        orders = await self._desk.orders(query.merchant_code, query.type)
        return {"ret": True, "data": orders, "total": len(orders)}

    async def _enter(self, visit: Visit, form: Form, signed: tuple[str, ...]) -> Secret:
        """Known, signed, and not too fast: the key it was signed with. Raises Refused, DeskUnavailable."""
        agent = required(form, "merchantCode").strip()
        required(form, SIGNATURE)
        visit.agent = agent if _CODE.fullmatch(agent) else ""
        keys = await self._desk.merchant_keys(agent) if visit.agent else ()
        if not keys:
            raise Refused(ErrCode.UNKNOWN_AGENT)
        key = signing_key(form, keys, signed)
        self._allow(agent)
        return key

    def _allow(self, agent: str) -> None:
        if not self._rate.allows(agent):
            raise Refused(ErrCode.TOO_MANY)


async def _raw(request: web.Request, *, queried: bool) -> bytes:
    """The query string of a GET, the body of a POST. Raises Refused, also as soon as the body is known to be too long."""
    if request.method == "GET" and queried:
        return request.raw_path.partition("?")[2].encode("utf-8", "surrogateescape")
    if request.method != "POST":
        raise Refused(ErrCode.BAD_PARAMETER, "请用POST")  # a password in an address would end in somebody's log
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise Refused(ErrCode.BAD_PARAMETER, f"超过{MAX_BODY_BYTES}字节")
    if request.content.is_eof() and request.content.exception() is None:  # it came with its head, as most do
        whole = request.content.read_nowait()
        if len(whole) <= MAX_BODY_BYTES:
            return whole
        raise Refused(ErrCode.BAD_PARAMETER, f"超过{MAX_BODY_BYTES}字节")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refused(ErrCode.BAD_PARAMETER, f"超过{MAX_BODY_BYTES}字节")
    except TimeoutError:
        raise Refused(ErrCode.BAD_PARAMETER, f"{BODY_S:.0f}秒内没有收全") from None
    except (web.RequestPayloadError, ConnectionError):  # it can't be read, or its sender has gone
        raise Refused(ErrCode.BAD_PARAMETER, "请求体无法读取") from None
    return bytes(body)


def _json(content: dict[str, Any]) -> bytes:
    if content == {"ret": True}:
        return _DONE
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _answer(reply: AgentReply) -> dict[str, Any]:
    if reply.err_code is None:
        return {"ret": True}
    return {"ret": False, "errCode": reply.err_code.value, "errMsg": reply.words or ERR_WORDS[reply.err_code]}


def _refusal(code: ErrCode, detail: str = "") -> dict[str, Any]:
    words = f"{ERR_WORDS[code]}: {detail}" if detail else ERR_WORDS[code]
    return {"ret": False, "errCode": code.value, "errMsg": words}
