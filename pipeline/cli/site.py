"""The console as a process serves it: on the address of the doors, or where CONSOLE_LISTEN says on one of its own; and the
jobs that its people start."""

from __future__ import annotations

import asyncio

import anyio.to_thread
from aiohttp import web

from pipeline.broker.gauge import open_gauge
from pipeline.cli.house import House
from pipeline.console.app import create_app
from pipeline.console.bridge import Bridge
from pipeline.console.desk import Desk
from pipeline.executors import ThreadExecutor
from pipeline.http_server import HttpServer
from pipeline.operations_users import first_link
from pipeline.replay_runner import ReplayRunner
from pipeline.settings import Settings, split_listen
from pipeline.store.engine import Store, open_store
from pipeline.vault import KeyRing, Sealer
from producers.address_rate import AddressRate

THREADS = 8  # of the console; on PostgreSQL each may hold a connection of the console's own pool


class ConsoleSite:
    """Mounted on the doors' application unless it has an address of its own. Closes before the database does."""

    def __init__(self, house: House, vault_key: Sealer, service_keys: KeyRing) -> None:
        self._settings = house.settings
        self._store = _store_of(house)
        self._owns_store = self._store.engine is not house.store.engine
        self._gauge = open_gauge(house.settings.broker_url, name="daifu console counts")
        desk = Desk(self._store, house.settings, service_keys, vault_key, self._gauge.read)
        self._bridge = Bridge(create_app(desk))
        self._server: HttpServer | None = None
        self._threads = ThreadExecutor(1)  # of the jobs that replay dead letters
        self._jobs = ReplayRunner(self._store, self._threads, desk.replay_rules, house.clock)
        self._running: asyncio.Task[None] | None = None

    def mount(self, doors: web.Application, addresses: AddressRate) -> None:
        """Answer on the doors' address, or get ready for one of our own: then the doors' knows nothing of the console."""
        if _own_listen(self._settings) is None:
            doors.add_routes([self._bridge.route()])
            return
        app = web.Application(middlewares=[addresses.middleware])
        app.add_routes([self._bridge.route()])
        self._server = HttpServer(app)

    async def start(self) -> None:
        """Raises OSError for an address in use."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        own = _own_listen(self._settings)
        if own is not None and self._server is not None:
            await self._server.start(*split_listen(own))
        self._running = asyncio.ensure_future(self._jobs.run())

    def url(self, doors: str) -> str:
        """Where people go; `doors`: `host:port` of the doors, which is the console's too unless it has its own."""
        return f"http://{doors if self._server is None else self._server.address}"

    def first_sign_in(self, url: str) -> str | None:
        """A one-time link where there is no user yet: it makes the first supervisor."""
        token = self._store.write(first_link).value
        return None if token is None else f"{url}/start/{token.reveal()}"

    async def close(self) -> None:
        self._jobs.stop()
        if self._running is not None:
            await self._running
        self._threads.close()
        await self._gauge.close()
        if self._server is not None:
            await self._server.close()
        if self._owns_store:
            self._store.close()


def _own_listen(settings: Settings) -> str | None:
    return None if settings.console_listen in (None, settings.http_listen) else settings.console_listen


def _store_of(house: House) -> Store:
    """SQLite has one writer, so there it is the same store; PostgreSQL's connections for pages are not those for payments."""
    if house.store.engine.dialect.name == "sqlite":
        return house.store.impatient()
    return open_store(house.settings.database, house.clock, patience_s=0.0, pool_size=THREADS)
