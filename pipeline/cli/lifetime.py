"""A foreground process from its first line to its last: ready line, signals, drain, exit code."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from pipeline.cli.house import House
from pipeline.cli.parts import Part
from pipeline.health import HealthServer
from pipeline.settings import split_listen

log = structlog.get_logger()

WATCH_S = 0.5
# How many new objects are looked through for cycles at once. A batch makes thousands, nearly all of them gone with it by their
# counts alone: Python's own 700 have it looked through dozens of times, for nothing.
YOUNG_OBJECTS = 100_000
GIVE_WAY = ("intake", "relay")
NICENESS = 8  # a sixth of the others' weight where all want to run at once


def say_ready(**addresses: Any) -> None:
    """The one line that scripts wait for, on stderr, always JSON."""
    sys.stderr.write(json.dumps({"event": "ready", **addresses}, ensure_ascii=False) + "\n")
    sys.stderr.flush()


class RunningPart(Part, Protocol):
    """A part that can say what broke it."""

    def failed(self) -> BaseException | None: ...


class Lifetime:
    """Runs parts until SIGTERM or SIGINT, then drains within DRAIN_S. `serve_until_stopped` returns the exit code."""

    def __init__(self, house: House, parts: Sequence[RunningPart]) -> None:
        self._house, self._parts = house, parts
        self.stopping = asyncio.Event()
        self._health: HealthServer | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start everything; returns the health address. Raises StoreUnavailable, OSError (address in use)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        self._ticking = asyncio.ensure_future(self._house.tick.run())
        for part in self._parts:
            await part.start()
            self._house.metrics.connected(part.name, part.connections)
        checks = {part.name: part.ready for part in self._parts}
        self._health = HealthServer(self._house.tick, checks, self._house.metrics)
        address = await self._health.start(*split_listen(self._house.settings.health_listen))
        # Modules, tables and models stay for good: a full collection that walks them stops every thread for 90 ms and more.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        return address

    async def serve_until_stopped(self) -> int:
        """Wait for a signal or for a part that broke; 0 after a clean drain, 1 when a part broke."""
        broken: BaseException | None = None
        while not self.stopping.is_set() and broken is None:
            broken = next((error for part in self._parts if (error := part.failed()) is not None), None)
            try:
                await asyncio.wait_for(self.stopping.wait(), WATCH_S)
            except TimeoutError:
                continue
        if broken is not None:
            log.error("part_broke", error=repr(broken), exc_info=broken)
        await self.finish()
        return 0 if broken is None else 1

    async def finish(self) -> None:
        """Stop taking work, finish what is in hand within DRAIN_S, close everything."""
        log.info("draining", within_s=self._house.settings.drain_s)
        for part in self._parts:
            part.stop()
        ends = [part.finish(self._house.settings.drain_s) for part in self._parts]
        for ended in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(ended, BaseException):  # the others must still be drained and closed
                log.error("drain_failed", exc_info=ended)
        if self._health is not None:
            await self._health.close()
        if self._ticking is not None:
            self._ticking.cancel()
        await self._house.close()
        log.info("stopped")


def give_way(name: str) -> None:
    """Where a worker or the relay shares cores with the others, what is begun is finished before more is begun: intake and the
    relay wait while the other stages have work. What they wait for gathers into larger batches, which cost less.

    Between containers only the weights of their cgroups count; `cpu_shares` in deploy/compose.yaml says the same.
    """
    if name in GIVE_WAY:
        os.nice(NICENESS)


def raise_file_limit() -> None:
    """As many open files as this user may have: a payment in flight holds two sockets, and the usual 1,024 end at 500."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
