"""What one process is built from: settings, clock, database, broker, metrics and key rings, opened once and closed in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.broker.depths import QueueDepths
from pipeline.broker.factory import open_broker
from pipeline.broker.port import Broker
from pipeline.broker.topology import queue_of
from pipeline.clock import WallClock
from pipeline.errors import UsageProblem
from pipeline.executors import ThreadExecutor
from pipeline.health import LoopTick
from pipeline.live_ring import LiveRing
from pipeline.metered import IN_MEMORY, SYSTEM, MeteredInbox, MeteredOutbox
from pipeline.metrics import Metrics
from pipeline.ports import AgentCaller, Cashier, Railway
from pipeline.runner import Ports
from pipeline.settings import Settings, SettingsError
from pipeline.store import revision
from pipeline.store.engine import Store, open_store
from pipeline.traces import Traces
from pipeline.vault import KeyRing, PublicKey, Sealer
from pipeline.wake_ups import prefetch_of

STORE_THREADS = 4
CALLBACK_TIMEOUT_S = 15.0


class NotReady(UsageProblem):
    """Something this process needs is missing; the text says what to run."""


@dataclass(slots=True)
class House:
    """Everything that the parts of one process share."""

    settings: Settings
    store: Store
    executor: ThreadExecutor
    broker: Broker
    clock: WallClock = field(default_factory=WallClock)
    randomness: random.Random = field(default_factory=random.SystemRandom)
    metrics: Metrics = field(default_factory=Metrics)
    traces: Traces | None = None
    crew: Mapping[str, int] = field(default_factory=dict)  # workers by stage, as the heartbeat has last seen them
    tick: LoopTick = field(init=False)

    def __post_init__(self) -> None:
        self.tick = LoopTick(self.clock)

    def ports(self, stage: str) -> Ports:
        """A consumer and a publisher of this stage's own, beside what is shared."""
        inbox = self.inbox(queue_of(stage), prefetch_of(stage))
        return Ports(
            inbox,
            self.outbox(),
            self.store,
            self.executor,
            self.clock,
            self.metrics,
            self._system,
            self.traces,
            lambda: self.crew,
        )

    def learn_crew(self, crew: Mapping[str, int]) -> None:
        self.crew = crew

    def inbox(self, queue: str, prefetch: int) -> MeteredInbox:
        return MeteredInbox(self.broker.inbox(queue, prefetch), self.metrics, self._system, queue)

    def outbox(self) -> MeteredOutbox:
        return MeteredOutbox(self.broker.outbox(), self.metrics, self._system, self.clock)

    @property
    def _system(self) -> str:
        return IN_MEMORY if self.settings.embedded else SYSTEM

    def queues(self) -> QueueDepths | None:
        """Asks the broker how full its queues are; None where it is this process alone."""
        if self.settings.embedded:
            return None
        return QueueDepths(self.settings.broker_url, name="daifu watches queues")

    def passwords(self) -> KeyRing:
        """The ring of 12306 passwords. Raises VaultError."""
        return self._ring("passwords", self.settings.vault_path)

    def service_keys(self) -> KeyRing:
        """The services' ring. Raises VaultError."""
        return self._ring("services", self.settings.service_keys_path)

    def _ring(self, name: str, path: Path) -> KeyRing:
        return LiveRing(path, lambda ring: self.metrics.key_made(name, ring.created_at))

    def sealer(self) -> Sealer:
        """What seals 12306 passwords here: VAULT_PUBLIC_KEY, or the ring where this process may read it. Raises VaultError."""
        return self.passwords() if self.settings.vault_public_key is None else vault_public(self.settings)

    def heartbeat_store(self) -> Store:
        """A connection of its own for heartbeats; SQLite has one writer, so there it is the same store."""
        if self.store.engine.dialect.name == "sqlite":
            return self.store
        return open_store(self.settings.database, self.clock, patience_s=self.settings.relay_patience_s, pool_size=1)

    async def close(self) -> None:
        await self.broker.close()
        self.executor.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
        self.store.close()


def open_house(settings: Settings, name: str, *, by_index: bool = False) -> House:
    """Open database and broker; `by_index` as of `open_store`. Raises StoreUnavailable, UnsafeDatabase, NotReady (schema),
    ValueError (broker URL), SettingsError (traces without their libraries)."""
    traces = None if settings.traces == "off" else open_otlp(name)
    store = open_store(settings.database, WallClock(), patience_s=settings.relay_patience_s, by_index=by_index)
    try:
        if not revision.fits(store):
            raise NotReady(_does_not_fit(revision.current(store)))
    except BaseException:
        store.close()
        raise
    threads = 1 if store.engine.dialect.name == "sqlite" else STORE_THREADS
    stock = settings.broker_socket == "stock"
    broker = open_broker(settings.broker_url, name=f"daifu {name}", stock=stock)
    return House(settings, store, ThreadExecutor(threads), broker, traces=traces)


def open_otlp(name: str) -> Traces:
    """Traces to a collector; only who makes them loads their libraries. Raises SettingsError."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from pipeline.tracing import open_traces
    except ImportError as error:
        raise SettingsError(f"DAIFU_TRACES: {error.name} is not installed; pip install 'daifu[traces]'") from None
    return open_traces(name, OTLPSpanExporter())


def _does_not_fit(stands_at: str | None) -> str:
    head = revision.head()
    if stands_at is not None and stands_at > head:
        return (
            f"the database's tables are at {stands_at}, and this version works with {head} no more: start a newer one"
        )
    return f"the database's tables are at {stands_at or 'nothing'}; run `daifu db upgrade` first"


def refuse_memory(settings: Settings) -> None:
    """A process of its own can't share a broker that lives in another process. Raises SettingsError."""
    if settings.embedded:
        raise SettingsError("DAIFU_BROKER_URL: memory:// lives in one process; use `daifu up`, or an amqp:// address")


def vault_public(settings: Settings) -> PublicKey:
    """The key that seals passwords: VAULT_PUBLIC_KEY, or that of the vault file where this process may read it."""
    if settings.vault_public_key is not None:
        return PublicKey.parse(settings.vault_public_key)
    return KeyRing.load(settings.vault_path).public


def railway_of(settings: Settings, clock: WallClock) -> tuple[Railway, Cashier]:
    """The real clients; only who pays loads them and their HTTP library. Raises SettingsError naming the address that is missing."""
    if settings.railway_url is None:
        raise SettingsError("DAIFU_RAILWAY_URL: the address of 12306 is needed, for example https://kyfw.12306.cn")
    if settings.cashier_url is None:
        raise SettingsError("DAIFU_CASHIER_URL: the address of the cashier is needed")
    from pipeline.railway.http_cashier import HttpCashier
    from pipeline.railway.http_railway import HttpRailway

    timeout_s = settings.pay_timeout_s
    railway = HttpRailway(settings.railway_url, cashier_url=settings.cashier_url, timeout_s=timeout_s / 2, clock=clock)
    return railway, HttpCashier(settings.cashier_url, timeout_s=timeout_s, clock=clock)


def agent_caller(settings: Settings) -> AgentCaller:
    """Calls agents over HTTP; only who calls loads the library for it."""
    from pipeline.outbound import HttpAgentCaller

    return HttpAgentCaller(
        settings.callback_allow_http,
        settings.callback_allow_nets,
        min(CALLBACK_TIMEOUT_S, settings.lease_s / 2),
    )
