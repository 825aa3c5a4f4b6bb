"""One run of a bench: a warm-up through the whole chain, the orders, the figures, and the judgement that all ended once."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.broker.connection import parse_url, safe_url
from pipeline.cli.bench import meter, orders
from pipeline.cli.bench.fleet import OneProcess, Processes
from pipeline.cli.bench.ground import Ground, add_agents, ground
from pipeline.cli.bench.process import Plan
from pipeline.cli.bench.upstreams import WARM_UP, Witness
from pipeline.cli.house import House
from pipeline.clock import WallClock
from pipeline.errors import DaifuError
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.store import bench
from pipeline.store.audit import audit
from pipeline.store.bench import Told
from pipeline.store.engine import open_store
from pipeline.vault import KeyRing

#: Seconds that a payment and a callback take.
SCENARIOS: Final[Mapping[str, tuple[float, float]]] = {"A": (0.0, 0.0), "B": (0.5, 0.05)}
LOOK_S: Final = 0.2
SILENCE_S: Final = 30.0  # without one more order ended, the run has failed
NOT_OURS: Final = frozenset({"rabbitmq", "postgresql", "upstreams"})  # by whose CPU
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1", "[::1]", ""})


class NothingMoves(DaifuError):
    """No order ended for a long time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`scenario` A or B; `workers` processes by stage, one where not named; `per_s` orders sent a second, None: at once."""

    scenario: str
    orders: int
    workers: Mapping[str, int]
    per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Upstreams in a process of their own, at the addresses of the settings. `seen` ends it and says what it saw."""

    pid: int
    callback: str  # the agents' address, with `{code}`
    key: Secret  # every agent's
    seen: Callable[[], Witness]


@dataclass(slots=True)
class _Servers:
    """RabbitMQ and PostgreSQL where they run on this machine, and upstreams elsewhere: their process ids, for their CPU."""

    rabbitmq: int | None
    postmaster: int | None
    upstreams: Collection[int]

    @classmethod
    def of(cls, house: House, settings: Settings, upstreams: Collection[int]) -> _Servers:
        rabbitmq = None
        if not settings.embedded:
            address = parse_url(settings.broker_url)
            rabbitmq = meter.listener_on(address.port) if address.host in LOOPBACK else None
        postmaster = None
        if house.store.engine.dialect.name == "postgresql" and (urlsplit(settings.database).hostname or "") in LOOPBACK:
            postmaster = meter.parent_of(house.store.read(bench.backend_pid))
        return cls(rabbitmq, postmaster, upstreams)

    def cpu_s(self) -> dict[str, float]:
        spent = {}
        if self.rabbitmq is not None:
            spent["rabbitmq"] = meter.cpu_s([self.rabbitmq])
        if self.postmaster is not None:
            spent["postgresql"] = meter.server_cpu_s(self.postmaster)
        if self.upstreams:
            spent["upstreams"] = meter.cpu_s(self.upstreams)
        return spent


async def run(
    settings: Settings,
    asked: Asked,
    warmed: Callable[[Ground, House], None] | None = None,
    elsewhere: Elsewhere | None = None,
) -> dict[str, Any]:
    """The row that `daifu bench` prints. `warmed` is called between the warm-up and the first order.

    Raises what the ground raises, ProcessEnded, NothingMoves.
    """
    with ground(settings) as own:
        house = own.house("driver")
        pay_s, callback_s = SCENARIOS[asked.scenario]
        plan = Plan(own.prefix, own.departure_at.isoformat(), pay_s, callback_s, over_http=elsewhere is not None)
        if elsewhere is None:
            add_agents(house)
        else:
            add_agents(house, elsewhere.callback, elsewhere.key)
        embedded = own.settings.embedded
        fleet = OneProcess(house, plan) if embedded else Processes(own, plan, asked.workers)
        try:
            await fleet.ready()
            await _warm_up(own, house, fleet)
            if warmed is not None:
                warmed(own, house)
            row = await _measured(own, house, fleet, asked, () if elsewhere is None else (elsewhere.pid,))
            witness = await fleet.stop()
            if elsewhere is not None:
                witness = elsewhere.seen()
        finally:
            fleet.kill()
            if not embedded:
                await house.close()
        return await asyncio.to_thread(judged, own, row, witness, WARM_UP + asked.orders)


async def _warm_up(own: Ground, house: House, fleet: OneProcess | Processes) -> None:
    """Through the whole chain: connections, prepared statements, models."""
    outbox = house.broker.outbox()
    await orders.publish(
        outbox, orders.messages(KeyRing.load(own.settings.vault_path).public, own.departure_at, 0, WARM_UP)
    )
    await ended(house, fleet, 0, WARM_UP)
    await outbox.close()


async def _measured(
    own: Ground, house: House, fleet: OneProcess | Processes, asked: Asked, upstreams: Collection[int]
) -> dict[str, Any]:
    outbox = house.broker.outbox()
    made = orders.messages(KeyRing.load(own.settings.vault_path).public, own.departure_at, WARM_UP, asked.orders)
    servers = _Servers.of(house, own.settings, upstreams)
    before = {**fleet.cpu_s(), **servers.cpu_s()}
    began, own_before = time.time(), _own_cpu_s()
    await orders.publish(outbox, made, asked.per_s)
    publisher_s = _own_cpu_s() - own_before
    await ended(house, fleet, WARM_UP, asked.orders)
    after = {**fleet.cpu_s(), **servers.cpu_s()}
    spent = {name: round(after[name] - before[name], 2) for name in after}
    if not own.settings.embedded:
        spent["publisher"] = round(publisher_s, 2)
    ours = sum(seconds for name, seconds in spent.items() if name not in NOT_OURS)
    told = house.store.read(lambda tx: bench.ways(tx, *span(WARM_UP, asked.orders)))
    took_s = max(way.delivered_at.timestamp() for way in told) - began
    return {
        "scenario": asked.scenario,
        "orders": asked.orders,
        "orders_per_s": round(asked.orders / took_s, 1),
        "rss_mb": round(fleet.peak_mb()),
        "latency_ms": latency_ms(told),
        "cpu_s_per_1000": round(ours / asked.orders * 1000, 3),
        "cpu_s": spent,
        "broker": safe_url(own.settings.broker_url),
        "database": house.store.engine.dialect.name,
    }


def latency_ms(told: list[Told]) -> dict[str, float]:
    """Accepted to callback sent, median and 99th percentile."""
    waits = sorted((way.delivered_at - way.accepted_at).total_seconds() * 1000 for way in told)
    return {
        "p50": round(waits[len(waits) // 2], 1),
        "p99": round(waits[min(len(waits) - 1, len(waits) * 99 // 100)], 1),
    }


async def ended(
    house: House, fleet: OneProcess | Processes, first: int, count: int, silence_s: float = SILENCE_S
) -> None:
    """Wait until all these orders have ended and everything about them is told. Raises NothingMoves, ProcessEnded."""
    names = span(first, count)
    since, last = names
    least, changed = count + 1, time.monotonic()
    while True:
        # Five times a second the first that is open: counting all that are would be a good part of PostgreSQL's work.
        look = partial(house.store.read, partial(bench.first_open, first=since, last=last))
        found = await house.executor.run(look)
        if found is None or time.monotonic() - changed > silence_s:
            left = await house.executor.run(lambda: house.store.read(lambda tx: bench.unfinished(tx, *names, count)))
            if not left:
                return
            if left < least:
                least, changed = left, time.monotonic()
        if found is not None and found != since:
            since, changed = found, time.monotonic()
        if time.monotonic() - changed > silence_s:
            states = await house.executor.run(lambda: house.store.read(lambda tx: bench.states(tx, *names)))
            raise NothingMoves(f"{left} of {count} orders have not settled, and none did for {silence_s:g} s: {states}")
        fleet.require_running()
        await asyncio.sleep(LOOK_S)


def judged(own: Ground, row: dict[str, Any], witness: Witness, total: int) -> dict[str, Any]:
    """`row`, and whether each of the first `total` orders ended exactly once: by the tables, by the audit, and by what the
    upstreams saw."""
    store = open_store(own.settings.database, WallClock(), pool_size=1)
    try:
        report = store.read(audit)
        odd = store.read(lambda tx: bench.not_ended_once(tx, *span(0, total)))
        left = store.read(lambda tx: bench.unfinished(tx, *span(0, total), total))
    finally:
        store.close()
    once = not odd and not left and saw_each_once(witness, total)
    return {
        **row,
        "in_flight_max": witness.most_in_flight,
        "audit_ok": report.ok,
        "ended_once": once,
        "broken": [broken.invariant for broken in report.broken],
    }


def saw_each_once(witness: Witness, total: int) -> bool:
    """Whether the money of each of the first `total` orders was taken once, and each agent was told once."""
    return dict(witness.taken) == holds(total) and dict(witness.told) == callbacks(total)


def holds(total: int) -> dict[str, int]:
    """What the cashier must have seen: each hold paid once."""
    return {orders.hold_no(number): 1 for number in range(total)}


def callbacks(total: int) -> dict[str, int]:
    """What the agents must have seen: payStatus 1 of each order, once."""
    return {f"{orders.order_no(number)} 1": 1 for number in range(total)}


def span(first: int, count: int) -> tuple[str, str]:
    """The numbers of the first and the last of these orders."""
    return orders.order_no(first), orders.order_no(first + count - 1)


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
