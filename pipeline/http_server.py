"""An aiohttp application on one address, started and closed by its owner."""

from __future__ import annotations

from aiohttp import web

IDLE_S = 15.0  # a connection that has not sent a whole request head by then is closed: slow senders too
LINGER_S = 1.0  # what is refused unread gets this long to hear why


SERVER = "daifu"  # else aiohttp tells everybody its version and Python's


class HttpServer:
    """Listens until closed."""

    def __init__(self, app: web.Application) -> None:
        app.on_response_prepare.append(_name_server)
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


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER
