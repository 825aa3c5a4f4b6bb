"""What `daifu serve` and `daifu up` listen with: the agents' interface, the AM door and the console, on one address."""

from __future__ import annotations

import asyncio
import sys

import structlog
from aiohttp import web

from pipeline import acceptance
from pipeline.acceptance import Conflict
from pipeline.agent_desk import AgentDesk
from pipeline.broker.messages import wake_messages
from pipeline.broker.port import BrokerUnavailable, Outbox, Unroutable
from pipeline.cli.assembly import limits_of
from pipeline.cli.house import House
from pipeline.cli.site import ConsoleSite
from pipeline.http_server import HttpServer
from pipeline.secret import Secret
from pipeline.settings import Settings, split_listen
from pipeline.store import engine
from pipeline.store.engine import Transaction
from pipeline.traces import Begun
from pipeline.vault import KeyRing, Sealer
from producers.address_rate import AddressRate
from producers.agents_door import PREFIX, AgentsDoor
from producers.agents_reading import Rules
from producers.am_door import StoreUnavailable, create_door
from producers.rate_limit import RateLimit
from schemas.am_messages import AmMessage
from schemas.problems import InvalidMessage, Problem

log = structlog.get_logger()

# An order's transaction gives the interpreter away at each of its statements; a busy loop hands it back only after this
# time (Python's own: 5 ms), statement after statement. On two cores, with the agents' programs and the database on them too, the
# 99th percentile of new requests beside 1,000 repeats a second is with this 11 to 14 ms on SQLite, 12 to 16 ms on PostgreSQL, 1.5 to
# 2 times what it is alone (`tests.benchmarks.door_load`, which says who takes the CPU).
SWITCH_S = 0.0001


def am_door(house: House, outbox: Outbox, vault_key: Sealer, token: Secret) -> web.Application:
    """The door as an application: accepted means committed; the wake-ups follow, by the relay if the broker is away."""
    limits, traces = limits_of(house.settings), house.traces

    def accept_all(tx: Transaction, messages: list[AmMessage], began: float) -> tuple[list[str], Begun | None]:
        answers = acceptance.accept_all(tx, messages, limits, origin="http")
        for index, answer in enumerate(answers):
            if isinstance(answer, Conflict):
                raise InvalidMessage((Problem(answer.field, answer.reason, index),))
        words = [answer.result for answer in answers if not isinstance(answer, Conflict)]
        return words, None if traces is None else traces.accept(tx, messages, began)

    async def accept(messages: list[AmMessage]) -> list[str]:
        began = house.clock.now().timestamp()
        try:
            done = await house.executor.run(lambda: house.store.write(lambda tx: accept_all(tx, messages, began)))
        except engine.StoreUnavailable as error:
            raise StoreUnavailable(str(error)) from error
        if done.wakes:
            try:
                await outbox.publish(wake_messages(done.wakes))
            except (BrokerUnavailable, Unroutable) as error:
                log.warning("wakeups_left_to_relay", messages=len(done.wakes), error=str(error))
        words, begun = done.value
        if begun is not None:
            begun.end()
        return words

    return create_door(accept, lambda: vault_key.public, token)


def rules_of(settings: Settings, vault_key: Sealer, service_keys: KeyRing) -> Rules:
    return Rules(
        password_parameter=settings.need_pay_password_param,
        password_signed=settings.need_pay_signed == "after_un",
        vault_key=vault_key,
        fingerprint=service_keys.fingerprint,
    )


class DoorPart:
    """The doors as a part of a process: they close before the database does."""

    name = "http"

    def __init__(self, house: House, vault_key: Sealer, service_keys: KeyRing, token: Secret) -> None:
        settings, outbox = house.settings, house.outbox()
        self._outbox = outbox
        limits = limits_of(settings)
        self._desk = AgentDesk(
            house.store, house.executor, outbox, house.clock, service_keys, limits, settings.repeat_window_s
        )
        rate = RateLimit(settings.agent_rate, house.clock)
        agents = AgentsDoor(self._desk, rules_of(settings, vault_key, service_keys), rate, house.metrics.answered)
        app = am_door(house, outbox, vault_key, token)
        app.add_routes(agents.routes())
        addresses = AddressRate(RateLimit(settings.address_rate, house.clock), settings.console_proxies)
        addresses.refuse_by(PREFIX, agents.too_many)
        app.middlewares.append(addresses.middleware)
        self.console = ConsoleSite(house, vault_key, service_keys)
        self.console.mount(app, addresses)  # last: it takes what no door does
        self._listen = split_listen(settings.http_listen)
        self.server = HttpServer(app)

    async def start(self) -> None:
        """Raises OSError for an address in use."""
        sys.setswitchinterval(SWITCH_S)
        await self.server.start(*self._listen)
        await self.console.start()

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"

    @property
    def console_url(self) -> str:
        return self.console.url(self.server.address)

    async def first_sign_in(self) -> dict[str, str]:
        """`first_sign_in`: a one-time link, where the console has no user yet; for the ready line."""
        link = await asyncio.to_thread(self.console.first_sign_in, self.console_url)
        return {} if link is None else {"first_sign_in": link}

    def stop(self) -> None:
        """Agents are answered until the end: what they ask is stored, and what they are not answered they ask again."""

    async def finish(self, within_s: float) -> None:
        await self.server.close()
        await self._desk.close()
        await self.console.close()

    def ready(self) -> bool:
        return bool(self.server.address)

    def connections(self) -> dict[str, bool]:
        return {"broker": self._outbox.connected}

    def failed(self) -> BaseException | None:
        """It has no task of its own that could end."""
        return None
