"""The console on a real address, for what speaks HTTP: it runs on a thread of its own, so that a test stays plain code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from starlette.types import ASGIApp

from pipeline.console.bridge import Bridge
from pipeline.http_server import HttpServer


@contextmanager
def on_a_thread(app: ASGIApp) -> Iterator[str]:
    """Serve an ASGI application on loopback; gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> HttpServer:
        doors = web.Application()
        doors.add_routes([Bridge(app).route()])
        server = HttpServer(doors)
        await server.start("127.0.0.1", 0)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://{server.address}"
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
