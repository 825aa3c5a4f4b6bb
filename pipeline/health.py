"""`/livez`: the loop ticks. `/readyz`: what this process depends on is there. `/metrics`: Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from pipeline.metrics import Metrics
from pipeline.ports import Clock

TICK_S = 0.5
STALE_S = 10.0  # a loop that has not ticked for so long is dead
IDLE_S = 15.0  # a connection that has not sent a whole request head by then is closed: slow senders too
LINGER_S = 1.0  # what is refused unread gets this long to hear why


class LoopTick:
    """Knows when the event loop last had a turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()

    def ago(self) -> float:
        """Seconds since the loop last ticked; may be asked from any thread."""
        return self._clock.monotonic() - self._last

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self._last = self._clock.monotonic()
            await asyncio.sleep(TICK_S)


def health_routes(tick: LoopTick, checks: Mapping[str, Callable[[], bool]], metrics: Metrics) -> list[web.RouteDef]:
    """Routes for any process's HTTP server. `checks` are asked at every `/readyz`."""

    async def livez(_request: web.Request) -> web.Response:
        alive = tick.ago() < STALE_S
        return web.json_response({"ok": alive, "checks": {"loop": alive}}, status=200 if alive else 503)

    async def readyz(_request: web.Request) -> web.Response:
        found = {name: check() for name, check in checks.items()}
        ready = all(found.values())
        return web.json_response({"ok": ready, "checks": found}, status=200 if ready else 503)

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", show_metrics)]


class HttpServer:
    """An aiohttp application on one address, started and closed by its owner."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, keepalive_timeout=IDLE_S, lingering_time=LINGER_S
        )
        self.address = ""

    async def start(self, host: str, port: int) -> str:
        """Listen; returns `host:port` as bound. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        self.address = f"{bound_host}:{bound_port}"
        return self.address

    async def close(self) -> None:
        await self._runner.cleanup()
