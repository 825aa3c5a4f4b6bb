"""Real processes for the tests: `daifu worker STAGE`, `relay`, `sandbox`, `serve`, `up`, each started, watched and ended by its own id.

`House` is the processes of one pipeline with their environment; `tests/integration/pipeline_orders.py` sends orders through it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import structlog
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from pipeline.broker import declare
from pipeline.cli import main
from pipeline.cli.home import prepare_home
from pipeline.clock import WallClock
from pipeline.settings import Settings, read
from pipeline.store import grants, migrate
from pipeline.store.engine import open_store
from pipeline.store.rights import ROLES, role_of
from tests.integration.pipeline_process import DAIFU, START_S, Process, Ran, until
from tests.services.ports import LOOPBACK, free_ports

STAGES: Final = ("intake", "credentials", "payment", "settlement", "notification")

TIMES: Final[Mapping[str, str]] = {
    "PAY_TIMEOUT_S": "2",
    "PAY_MARGIN_S": "1",
    "PAY_GRACE_S": "1",
    "LEASE_S": "6",
    "LIST_RETRY_S": "0.2",
    "IN_HAND_RETRY_S": "3",
    "RELAY_PATIENCE_S": "1",
    "CALLBACK_SCHEDULE_S": "1,2,4,8",
    "DRAIN_S": "8",
}


class House:
    """The processes of one pipeline, their folder and their environment. `env` names settings without prefix."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        home = folder / "home"
        (port,) = free_ports(1)
        self.sandbox_url = f"http://{LOOPBACK}:{port}"
        own = {**TIMES, "HOME": str(home), "SANDBOX_LISTEN": f"{LOOPBACK}:{port}", **settings}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAIFU_")}
        self.env = {**kept, **{f"DAIFU_{name}": value for name, value in own.items()}}
        self.processes: dict[str, Process] = {}
        self._dead: list[Process] = []
        self._names = 0
        self.in_sight = False  # `Process`: for who looks into /proc
        self._has_roles = False  # `prepare` makes them, on PostgreSQL

    @property
    def settings(self) -> Settings:
        return read(self.env)

    @property
    def vhost(self) -> str:
        return unquote(urlsplit(self.settings.broker_url).path[1:])

    @property
    def sandbox_journal(self) -> Path:
        """The sandbox's own file."""
        return self.settings.home / "sandbox.jsonl" if self.settings.embedded else self.folder / "sandbox.jsonl"

    # -- processes ---------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Key rings, tables and queues: what `vault keygen`, `db upgrade` and `topology apply` make."""
        settings = self.settings
        prepare_home(settings)
        migrate.upgrade(settings.database)
        if self.on_postgresql:
            store = open_store(settings.database, WallClock(), pool_size=1)
            store.write(lambda tx: grants.apply(tx, {}))
            store.close()
            self._has_roles = True
        declare.apply(settings.broker_url)

    def outside(self) -> None:
        """From here on 12306, cashier and agents are this house's sandbox."""
        base = self.sandbox_url
        own = {"RAILWAY_URL": base, "CASHIER_URL": f"{base}/cashier", "CALLBACK_ALLOW_HTTP": "true"}
        own["CALLBACK_ALLOW_NETS"] = "127.0.0.0/8"
        self.env.update({f"DAIFU_{name}": value for name, value in own.items()})

    def start(self, name: str, *arguments: str) -> Process:
        """Start `daifu ARGUMENTS` under a name of its own; see `Process.ready`."""
        self._names += 1
        called, env = f"{self._names:02d}-{name}", self._env_of(arguments)
        process = Process(self.folder, called, list(arguments), env, in_sight=self.in_sight)
        if name in self.processes:
            self._dead.append(self.processes[name])
        self.processes[name] = process
        return process

    @property
    def on_postgresql(self) -> bool:
        return self.settings.database.startswith("postgresql")

    def _env_of(self, arguments: tuple[str, ...]) -> dict[str, str]:
        """On PostgreSQL every process has the rights of its own role and no more: what one lacks fails here."""
        role = role_of(arguments[-1])
        if role not in ROLES or not self._has_roles:
            return self.env
        as_role = make_url(self.settings.database).update_query_dict({"options": f"-c role={role}"})
        return {**self.env, "DAIFU_DATABASE_URL": as_role.render_as_string(hide_password=False)}

    def start_sandbox(self) -> Process:
        return self.start("sandbox", "sandbox", "--journal", str(self.sandbox_journal))

    def start_worker(self, stage: str, nth: int = 1) -> Process:
        return self.start(stage if nth == 1 else f"{stage}-{nth}", "worker", stage)

    def start_all(self, workers: int = 1) -> None:
        """The sandbox, the relay and `workers` processes of each stage; returns once all are ready."""
        self.outside()
        self.start_sandbox()
        self.start("relay", "relay")
        for stage in STAGES:
            for nth in range(1, workers + 1):
                self.start_worker(stage, nth)
        for process in list(self.processes.values()):
            until(f"{process.name} is ready", process.ready, START_S)

    def replace(self, name: str) -> Process:
        """A new process instead of one that ended."""
        process = self.start_again(name)
        until(f"{name} is ready", process.ready, START_S)
        return process

    def start_again(self, name: str) -> Process:
        """As `replace`, without waiting for its ready line."""
        assert not self.processes[name].running
        return self.start(name, "relay") if name == "relay" else self.start(name, "worker", name)

    def close(self) -> None:
        """End everything that this house started."""
        for process in (*self.processes.values(), *self._dead):
            process.close()

    def logs(self) -> str:
        """All that its processes ever wrote."""
        return "\n".join(
            path.read_text(errors="replace")
            for path in sorted(self.folder.iterdir())
            if path.suffix in (".err", ".out")
        )

    # -- commands ----------------------------------------------------------------------------------------------

    def cli(self, *arguments: str, stdin: str = "") -> Ran:
        """A command, run in this process: a start of its own would take a second each time."""
        gone: dict[str, str | None] = {name: None for name in os.environ if name.startswith("DAIFU_")}
        own = {name: value for name, value in self.env.items() if name.startswith("DAIFU_")}
        try:
            done = CliRunner().invoke(main, list(arguments), input=stdin, env={**gone, **own}, catch_exceptions=False)
        finally:
            structlog.reset_defaults()  # it logs to the runner's stderr, which is closed by now
        return Ran(done.exit_code, done.stdout, done.stderr)

    def json(self, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        """The JSON that a command prints with `--json`. Raises AssertionError for another exit code than `code`."""
        done = self.cli(*arguments, "--json", stdin=stdin)
        assert done.code == code, f"daifu {' '.join(arguments)}: exit {done.code}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def spawn(self, *arguments: str, stdin: str = "", within_s: float = 120.0, **settings: str) -> Ran:
        """A command as a process of its own."""
        env = {**self.env, **{f"DAIFU_{name}": value for name, value in settings.items()}}
        done = subprocess.run(
            [str(DAIFU), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=env,
            timeout=within_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


def start_on(folder: Path, broker_url: str, database_url: str, workers: int, **settings: str) -> House:
    """A process per stage (or `workers`), the relay and a sandbox on a RabbitMQ and a PostgreSQL; all ready."""
    house = House(folder, BROKER_URL=broker_url, DATABASE_URL=database_url, **settings)
    try:
        house.prepare()
        house.start_all(workers)
    except BaseException:
        house.close()
        raise
    return house


def start_embedded(folder: Path, **settings: str) -> House:
    """The embedded default: `daifu up`, its sandbox included; ready."""
    (port,) = free_ports(1)
    house = House(folder, HTTP_LISTEN=f"{LOOPBACK}:{port}", **settings)
    try:
        up = house.start("up", "up")
        until("up is ready", up.ready, START_S)
    except BaseException:
        house.close()
        raise
    return house
