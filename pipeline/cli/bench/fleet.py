"""What carries a bench's orders: a process per stage and the relay, or everything in this one (the embedded default)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from pipeline.broker.topology import STAGES
from pipeline.cli.bench.ground import Ground
from pipeline.cli.bench.meter import cpu_s, peak_mb
from pipeline.cli.bench.process import RELAY, Plan, part_of, witness_path
from pipeline.cli.bench.upstreams import Witness
from pipeline.cli.house import House
from pipeline.cli.lifetime import Lifetime
from pipeline.errors import DaifuError

START_S: Final = 60.0
END_S: Final = 40.0
LOOK_S: Final = 0.05
LAST_WORDS: Final = 2_000  # characters


class ProcessEnded(DaifuError):
    """A process of the bench ended before its time."""


class Fleet(Protocol):
    """All that runs between the first message and the last callback."""

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by stage."""

    def peak_mb(self) -> float: ...

    def require_running(self) -> None:
        """Raises ProcessEnded."""

    async def stop(self) -> Witness:
        """Drain and end everything; what the upstreams saw. Raises ProcessEnded."""


class Processes:
    """Each stage and the relay in processes of their own, as in production."""

    def __init__(self, ground: Ground, plan: Plan, workers: Mapping[str, int]) -> None:
        """`workers`: processes by stage, one where not named."""
        self._home = ground.settings.home
        self._plan = self._home / "plan.json"
        plan.save(self._plan)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAIFU_")}
        self._environment = {**kept, **ground.environment()}
        wanted = [(stage, copy) for stage in (*STAGES, RELAY) for copy in range(workers.get(stage, 1))]
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._logs: dict[int, Path] = {}
        for stage, copy in wanted:
            self.start(stage, copy)

    def start(self, stage: str, copy: int = 0) -> None:
        """One more process of this stage; `ready` waits for it too."""
        path = self._home / f"{stage}-{copy}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - this program, with arguments of its own
                [sys.executable, "-m", "pipeline.cli.bench.process", stage, str(self._plan)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        self._running.setdefault(stage, []).append(process)
        self._logs[process.pid] = path

    async def ready(self) -> None:
        """Wait until every process has said so. Raises ProcessEnded."""
        end = asyncio.get_running_loop().time() + START_S
        while not all(_said_ready(path) for path in self._logs.values()):
            self.require_running()
            if asyncio.get_running_loop().time() > end:
                raise ProcessEnded(f"the processes were not ready within {START_S:g} s")
            await asyncio.sleep(LOOK_S)

    def pids(self) -> dict[str, list[int]]:
        """Process ids by stage."""
        return {stage: [process.pid for process in some] for stage, some in self._running.items()}

    def cpu_s(self) -> dict[str, float]:
        return {stage: cpu_s(process.pid for process in some) for stage, some in self._running.items()}

    def peak_mb(self) -> float:
        return peak_mb(self._logs)

    def require_running(self) -> None:
        for stage, some in self._running.items():
            for process in some:
                if process.poll() is not None:
                    words = self._logs[process.pid].read_text("utf-8", "replace")[-LAST_WORDS:]
                    raise ProcessEnded(f"{stage} ended with {process.returncode}: {words}")

    async def stop(self) -> Witness:
        witness = Witness()
        for some in self._running.values():
            for process in some:
                process.send_signal(signal.SIGTERM)
        for stage, some in self._running.items():
            for process in some:
                if await asyncio.to_thread(process.wait, END_S) != 0:
                    raise ProcessEnded(f"{stage} did not end well: {process.returncode}")
                witness.add(witness_path(self._plan, stage, process.pid))
        return witness

    def kill(self) -> None:
        """Whatever still runs ends now."""
        for some in self._running.values():
            for process in some:
                if process.poll() is None:
                    process.kill()
                    process.wait()


class OneProcess:
    """All stages and the relay on this process's loop."""

    def __init__(self, house: House, plan: Plan) -> None:
        self._witness = Witness()
        parts = [part_of(house, stage, plan, self._witness) for stage in (*STAGES, RELAY)]
        self._parts = parts
        self._lifetime = Lifetime(house, parts)

    async def ready(self) -> None:
        """Start every part. Raises StoreUnavailable."""
        await self._lifetime.start()

    def cpu_s(self) -> dict[str, float]:
        return {"all": cpu_s([os.getpid()])}

    def peak_mb(self) -> float:
        return peak_mb([os.getpid()])

    def require_running(self) -> None:
        for part in self._parts:
            if (error := part.failed()) is not None:
                raise ProcessEnded(f"{part.name} broke: {error!r}") from error

    async def stop(self) -> Witness:
        await self._lifetime.finish()
        return self._witness

    def kill(self) -> None:
        """Nothing outlives this process."""


def _said_ready(path: Path) -> bool:
    lines = path.read_text("utf-8", "replace").splitlines()
    return any('"event": "ready"' in line and json.loads(line)["event"] == "ready" for line in lines)
