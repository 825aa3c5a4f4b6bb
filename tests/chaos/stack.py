"""The real stack of a run: RabbitMQ, PostgreSQL and sandbox behind proxies, one process per stage and two of payment, relay and
serve; all of them `daifu` commands. A supervisor starts again what died, as a cluster's kubelet does.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.cli.house import vault_public
from pipeline.vault import PublicKey
from tests.chaos.cluster import Cluster
from tests.chaos.orders import AGENTS
from tests.chaos.proxy import Proxy
from tests.integration.pipeline_house import House
from tests.integration.pipeline_orders import KEY
from tests.integration.pipeline_process import Process, Ran, request, until
from tests.services.broker import RabbitmqNode
from tests.services.management import Management
from tests.services.ports import LOOPBACK, free_ports
from tests.services.postgres import PostgresServer

ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "intake": ("worker", "intake"),
    "credentials": ("worker", "credentials"),
    "payment": ("worker", "payment"),
    "payment-2": ("worker", "payment"),
    "settlement": ("worker", "settlement"),
    "notification": ("worker", "notification"),
    "relay": ("relay",),
    "serve": ("serve",),
}
UNREACHABLE: Final = 3  # the exit code of a process that found its database or broker away at its start
LOOK_S: Final = 0.2
START_S: Final = 120.0  # eight processes at once, on a machine that may do other things too
GRACE_S: Final = 40.0  # from SIGTERM to its end: longer than DRAIN_S and what closing takes
TOP_UP_FEN: Final = 10_000_000_000


class Stack:
    """`settings` are the second-settings of the run, `say` writes its diary. The proxies stand between the workers and everything they talk to."""

    def __init__(
        self,
        folder: Path,
        node: RabbitmqNode,
        postgres: PostgresServer,
        vhost: str,
        database: str,
        settings: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self.say = say
        self.node, self.postgres, self.vhost = node, postgres, vhost
        self.direct = {"BROKER_URL": node.url(vhost), "DATABASE_URL": postgres.url(database)}
        self.to_broker = Proxy("broker", [_address(self.direct["BROKER_URL"])])
        self.to_database = Proxy("database", [_address(self.direct["DATABASE_URL"])])
        (http,) = free_ports(1)
        self.house = House(
            folder,
            **{
                **settings,
                "BROKER_URL": _through(self.direct["BROKER_URL"], self.to_broker),
                "DATABASE_URL": _through(self.direct["DATABASE_URL"], self.to_database),
                "HTTP_LISTEN": f"{LOOPBACK}:{http}",
                "AM_TOKEN": "invented-token-of-this-run",
            },
        )
        self.house.in_sight = True  # their files and connections are counted
        self.to_sandbox = Proxy("sandbox", [_address(self.house.sandbox_url)])
        self.sandbox_url = self.house.sandbox_url  # the driver's own way: no faults on it
        self.broker_url = self.house.settings.broker_url
        self.tally: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.frozen: set[str] = set()
        self.cluster: Cluster | None = None
        self._held_down: dict[str, float] = {}  # name → when it may be started again
        self._asked: dict[str, float] = {}  # by SIGTERM, to end: until when they may take
        self._guard = threading.RLock()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        return (self.to_broker, self.to_database, self.to_sandbox)

    @property
    def vault_key(self) -> PublicKey:
        return vault_public(self.house.settings)

    # -- from the first process to the last ------------------------------------------------------------------------

    def start(self) -> None:
        """Tables, queues, agents with funds; then every process, ready."""
        house = self.house
        house.prepare()
        house.outside()
        own = f"http://{LOOPBACK}:{self.to_sandbox.port}"
        house.env |= {"PYTHONFAULTHANDLER": "1", "DAIFU_RAILWAY_URL": own, "DAIFU_CASHIER_URL": f"{own}/cashier"}
        house.start_sandbox()
        until("the sandbox is ready", house.processes["sandbox"].ready, START_S)
        for code in AGENTS:
            house.json("agents", "add", code, "--callback", f"{own}/sandbox/agents/{code}/callback", stdin=KEY)
            house.json("funds", "top-up", code, "--fen", str(TOP_UP_FEN), "--reason", "采购资金")
            self.put(f"/sandbox/agents/{code}", {"answer": "ok", "key": KEY})
        for name, arguments in ARGUMENTS.items():
            house.start(name, *arguments)
        for name in ARGUMENTS:
            until(f"{name} is ready", house.processes[name].ready, START_S)
        self._supervisor.start()

    def close(self) -> None:
        """End everything that was started here; broker and database are the caller's."""
        self._stopping.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        self.house.close()
        for proxy in self.proxies:
            proxy.close()

    # -- what is done to it ----------------------------------------------------------------------------------------

    def put(self, path: str, body: dict[str, Any]) -> None:
        """Tell the sandbox how to behave."""
        status, answer = request(f"{self.sandbox_url}{path}", "PUT", body)
        assert status == 200, answer

    def process(self, name: str) -> Process:
        with self._guard:
            return self.house.processes[name]

    def kill(self, name: str, down_s: float = 0.0) -> bool:
        """SIGKILL; it stays down for `down_s`. False where there was nothing to kill: only real kills are counted."""
        with self._guard:
            process = self.house.processes[name]
            if not process.running:
                return False
            process.kill()
            if process.wait(0) != -9:
                return False  # it had just ended by itself: the supervisor says how
            self.tally["kills"] += 1
            self.tally[f"kill {name}"] += 1
            self.frozen.discard(name)
            self._asked.pop(name, None)
            self._held_down[name] = time.monotonic() + down_s
            return True

    def cut_power(self, name: str, for_s: float) -> int:
        """As `kill`, and its connections to the database say no good-bye; returns how many."""
        with self._guard:
            ports = client_ports(self.house.processes[name].pid)
            stranded = self.to_database.strand(ports, for_s)
            self.kill(name)
            self.tally["power cuts"] += 1
            return stranded

    def terminate(self, name: str) -> None:
        """SIGTERM: a rolling restart. Its exit code must be 0."""
        with self._guard:
            process = self.house.processes[name]
            if process.running and name not in self.frozen and process.ready():
                process.ask_to_end()
                self.tally["terminations"] += 1
                self._held_down[name] = 0.0
                self._asked[name] = time.monotonic() + GRACE_S

    def freeze(self, name: str) -> bool:
        """SIGSTOP."""
        with self._guard:
            process = self.house.processes[name]
            if not process.running or name in self.frozen:
                return False
            process.freeze()
            self.frozen.add(name)
            self.tally["freezes"] += 1
            return True

    def thaw(self, name: str) -> None:
        """SIGCONT, where it was not killed meanwhile."""
        with self._guard:
            if name in self.frozen:
                self.frozen.discard(name)
                self.house.processes[name].thaw()

    def command(self, *arguments: str, within_s: float = 60.0) -> Ran | None:
        """`daifu …` as a process of its own, past the proxies; None when it did not end in time."""
        try:
            return self.house.spawn(*arguments, within_s=within_s, **self.direct)
        except subprocess.TimeoutExpired:
            return None

    @property
    def management(self) -> Management:
        return self.node.management if self.cluster is None else self.cluster.nodes[0].management

    def move_broker(self, cluster: Cluster) -> None:
        """From now on the broker is this cluster, empty as it is, behind the same address. The single node ends."""
        self.cluster = cluster
        (_, old), (_, port) = _address(self.direct["BROKER_URL"]), cluster.targets[0]
        self.direct["BROKER_URL"] = self.direct["BROKER_URL"].replace(f":{old}/", f":{port}/")
        self.to_broker.retarget(cluster.targets)
        self.node.stop()

    def start_broker(self) -> None:
        """Where it does not run."""
        if self.cluster is None:
            self.node.start()

    def declare(self) -> bool:
        """`daifu topology apply`; False while the broker is not ready for it."""
        self.management.create_vhost(self.vhost)
        done = self.command("topology", "apply")
        if done is None or done.code != 0:
            self.say(f"`daifu topology apply`: {'no end in time' if done is None else done.stderr[-300:]}")
        return done is not None and done.code == 0

    # -- the supervisor --------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        while not self._stopping.wait(LOOK_S):
            with self._guard:
                for name in ARGUMENTS:
                    process = self.house.processes[name]
                    if not process.running:
                        self._start_again(name, process)
                    elif time.monotonic() > self._asked.get(name, math.inf):
                        self._end_by_force(name, process)

    def _end_by_force(self, name: str, process: Process) -> None:
        """What a kubelet does after the grace period; the process writes where its threads stand."""
        os.kill(process.pid, signal.SIGABRT)
        del self._asked[name]
        self.troubles.append(f"{name} was asked to end and did not within {GRACE_S:.0f} s")

    def _start_again(self, name: str, process: Process) -> None:
        code = process.wait(0)
        if name in self._asked:
            self._asked.pop(name, None)
            if code != 0:
                self.troubles.append(f"{name} was asked to end and ended with {code}: {process.last_words()[-600:]}")
        if name not in self._held_down:
            self._held_down[name] = time.monotonic() + 1.0
            if code == UNREACHABLE and not _was_ready(process):
                self.tally["starts refused"] += 1
            else:
                self.troubles.append(f"{name} ended by itself with {code}: {process.last_words()[-600:]}")
        if time.monotonic() < self._held_down[name]:
            return
        del self._held_down[name]
        self.house.start(name, *ARGUMENTS[name])
        self.tally["starts"] += 1


def client_ports(pid: int) -> set[int]:
    """The local TCP ports of a process's connections."""
    table = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    by_inode = {row[9]: int(row[1].partition(":")[2], 16) for row in table}
    held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    return {by_inode[inode] for name in held if (inode := name.removeprefix("socket:[").rstrip("]")) in by_inode}


def _was_ready(process: Process) -> bool:
    return "ready" in process.events()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _through(url: str, proxy: Proxy) -> str:
    host, port = _address(url)
    return url.replace(f"@{host}:{port}", f"@{LOOPBACK}:{proxy.port}")
