"""The sandbox over HTTP: 12306 and epay under /otn and /pay, the cashier under /cashier, the controls under /sandbox."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from pipeline.http_server import whole_body
from pipeline.railway.sandbox import forms, pages
from pipeline.railway.sandbox.behaviours import PROCESSING, Fault, Way
from pipeline.railway.sandbox.controls import ConflictError, InvalidError
from pipeline.railway.sandbox.railway_routes import WORLD, form_of, html, railway_routes
from pipeline.railway.sandbox.till import Reply
from pipeline.railway.sandbox.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(world: World) -> web.Application:
    """The web application over `world`. The world stays the caller's to close."""
    app = web.Application(middlewares=[whole_body, _middleware])
    app[WORLD] = world
    app.add_routes(railway_routes())
    app.add_routes(
        [
            web.post("/cashier/gateway.do", _cashier),
            web.post("/sandbox/holds", _add_hold),
            web.get("/sandbox/holds/{no}", _show_hold),
            web.get("/sandbox/journal", _journal),
            web.put("/sandbox/outage", _set_outage),
            web.put("/sandbox/clock", _set_clock),
            web.put("/sandbox/agents/{code}", _set_agent),
            web.post("/sandbox/agents/{code}/callback", _callback),
        ]
    )
    return app


@dataclass(frozen=True, slots=True)
class Server:
    """A listening sandbox. `port` is the real one where 0 was asked for."""

    runner: web.AppRunner
    port: int

    async def close(self) -> None:
        """Stop listening and drop every connection. The world stays open."""
        await self.runner.cleanup()


async def serve(world: World, host: str, port: int) -> Server:
    """Listen on `host`:`port`. Raises OSError when the address can't be had."""
    # a caller that leaves must free the handler that keeps silent; nothing is owed to anybody at the end
    runner = web.AppRunner(create_app(world), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=4096).start()
    except OSError:
        await runner.cleanup()
        raise
    return Server(runner, runner.addresses[0][1])


@web.middleware
async def _middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    world, upstream = request.app[WORLD], not request.path.startswith("/sandbox/")
    response: web.StreamResponse
    try:
        if upstream and not request.path.startswith("/cashier/"):
            world.ticketing.alive()  # before anything of the request is looked at
        response = await handler(request)
        await world.synced()
    except Fault as fault:
        await world.synced()
        response = await _fail(request, fault.way)
    except InvalidError as error:
        status = 409 if isinstance(error, ConflictError) else 422
        response = web.json_response({"field": error.field, "error": error.error}, status=status)
    if upstream:
        response.headers["Date"] = format_datetime(world.now(), usegmt=True)
    return response


async def _fail(request: web.Request, way: Way) -> web.Response:
    """End a request the way an outage or a behaviour does."""
    if way is Way.SILENCE:
        await asyncio.Event().wait()  # until the caller leaves: the handler is cancelled then
    elif way is Way.RESET:
        _reset(request)
    elif way is Way.MAINTENANCE:
        return html(pages.MAINTENANCE)
    return html(f"<html><body>{way}</body></html>", status=503 if way is Way.DOWN else 500)


def _reset(request: web.Request) -> None:
    """Drop the connection so that the caller sees a reset, not an end."""
    transport = request.transport
    if transport is None:
        return
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _cashier(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    world.till.connected()
    fields = await form_of(request)
    service = fields.get("service")
    if service == "single_trade_query":
        trade_no = fields.get("out_trade_no", "")
        text = forms.trade_xml(trade_no, world.till.trade(trade_no), world.till.asked_fen(trade_no))
        return web.Response(text=text, content_type="text/xml", charset="utf-8")
    if service == "create_direct_pay_by_user":
        reply = world.till.submit(fields)
        await world.synced()
        await asyncio.sleep(reply.delay_s)
        return _reply_page(request, reply)
    return web.Response(
        text="<alipay><is_success>F</is_success><error>ILLEGAL_SERVICE</error></alipay>", content_type="text/xml"
    )


def _reply_page(request: web.Request, reply: Reply) -> web.Response:
    if reply.way is Way.SUCCESS:
        return html(forms.result_page("SUCCESS", "支付成功"))
    if reply.way is Way.REFUSED:
        return html(forms.result_page("FAIL", reply.text))
    if reply.way is Way.PROCESSING:
        return html(forms.result_page("PROCESSING", PROCESSING))
    if reply.way is Way.GARBAGE:
        return web.Response(body=forms.GARBAGE, content_type="text/html")
    if reply.way is Way.REDIRECT:
        return web.Response(status=307, headers={"Location": str(request.url)})
    raise Fault(reply.way)


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError:
        raise InvalidError("body", "is not JSON") from None


async def _add_hold(request: web.Request) -> web.Response:
    hold = request.app[WORLD].add_hold(await _body(request))
    body = {"held_order_no": hold.held_order_no, "pay_deadline": hold.pay_deadline.isoformat()}
    return web.json_response(body, status=201)


async def _show_hold(request: web.Request) -> web.Response:
    state = request.app[WORLD].hold(request.match_info["no"])
    if state is None:
        return web.json_response({"field": "held_order_no", "error": "no such hold"}, status=404)
    return web.json_response(state)


async def _journal(request: web.Request) -> web.Response:
    try:
        after = int(request.query.get("after", "0"))
    except ValueError:
        raise InvalidError("after", "must be a whole number") from None
    return web.json_response(request.app[WORLD].journal(after))


async def _set_outage(request: web.Request) -> web.Response:
    return web.json_response(request.app[WORLD].set_outage(await _body(request)))


async def _set_clock(request: web.Request) -> web.Response:
    return web.json_response(request.app[WORLD].set_clock(await _body(request)))


async def _set_agent(request: web.Request) -> web.Response:
    return web.json_response(request.app[WORLD].set_agent(request.match_info["code"], await _body(request)))


async def _callback(request: web.Request) -> web.Response:
    form, webhook_id = await form_of(request), request.headers.get("webhook-id")
    answer = request.app[WORLD].agents.callback(request.match_info["code"], form, webhook_id)
    return web.json_response(answer.body, status=answer.status)
