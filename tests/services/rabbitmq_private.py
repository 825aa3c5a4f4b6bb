"""A private RabbitMQ node of an installed `rabbitmq-server`: own ports, folder, cookie and epmd, all on loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path

from tests.services.broker import RabbitmqNode
from tests.services.errors import ProviderUnavailable, ServiceFailed
from tests.services.management import Management
from tests.services.ports import LOOPBACK, answers, free_ports, nap
from tests.services.processes import ServerProcess
from tests.services.tls import Certificate

START_S = 120.0
STOP_S = 60.0
USER = "daifu-test"
# Debian's /usr/sbin/rabbitmq-server changes to the user `rabbitmq` and its folders; the script behind it does not.
DEBIAN_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def find_server() -> Path:
    """The installed start script. Raises ProviderUnavailable."""
    if DEBIAN_SCRIPT.exists():
        return DEBIAN_SCRIPT
    found = shutil.which("rabbitmq-server", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise ProviderUnavailable("no rabbitmq-server is installed")
    return Path(found)


def find_epmd() -> Path:
    """Erlang's port mapper, which a node needs to have a name. Raises ProviderUnavailable."""
    found = shutil.which("epmd")
    if found is not None:
        return Path(found)
    for root in ("/usr/lib/erlang", "/usr/local/lib/erlang", "/usr/lib64/erlang", "/opt/homebrew/lib/erlang"):
        for path in sorted(Path(root).glob("erts-*/bin/epmd")):
            return path
    raise ProviderUnavailable("rabbitmq-server is installed, but Erlang's epmd is not to be found on PATH")


class PrivateNode(RabbitmqNode):
    """Started by this run, ended by it: node, port mapper and folder."""

    def __init__(self, provider: str, tls: Certificate | None = None) -> None:
        """`tls`: AMQP and the management API over TLS, too, at `tls_port` and `tls_management_port`."""
        self._script = find_server()
        epmd = find_epmd()
        amqp, self._dist, self._epmd_port, management, self.tls_port, self.tls_management_port = free_ports(6)
        password = secrets.token_hex(16)
        super().__init__(provider, USER, password, amqp, Management(LOOPBACK, management, USER, password))
        self.folder = Path(tempfile.mkdtemp(prefix="daifu-rabbitmq-"))
        self._write_settings(password, management)
        if tls is not None:
            self._add_tls(tls)
        self._process: ServerProcess | None = None
        self._epmd = ServerProcess(
            [str(epmd), "-port", str(self._epmd_port), "-address", LOOPBACK],
            log=self.folder / "epmd.log",
            env=self._env(),
        )

    def _write_settings(self, password: str, management: int) -> None:
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)
        (self.folder / "environment.conf").write_text("")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        settings = self.folder / "rabbitmq.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}\n"
            f"management.tcp.ip = {LOOPBACK}\n"
            f"management.tcp.port = {management}\n"
            f"default_user = {USER}\n"
            f"default_pass = {password}\n"
            "collect_statistics_interval = 1000\n"
        )

    def _add_tls(self, tls: Certificate) -> None:
        files = {"cacertfile": tls.authority, "certfile": tls.certificate, "keyfile": tls.key}
        lines = [f"listeners.ssl.1 = {LOOPBACK}:{self.tls_port}"]
        lines += [f"ssl_options.{name} = {path}" for name, path in files.items()]
        lines += [f"management.ssl.ip = {LOOPBACK}", f"management.ssl.port = {self.tls_management_port}"]
        lines += [f"management.ssl.{name} = {path}" for name, path in files.items()]
        with (self.folder / "rabbitmq.conf").open("a") as settings:
            settings.write("\n".join(lines) + "\n")

    def _env(self) -> dict[str, str]:
        """Of the caller's environment only the search path and language: its RABBITMQ_… would reach into the private node."""
        folder = str(self.folder)
        return {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/environment.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_NODENAME": f"daifu-{self.folder.name[-8:]}@localhost",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Raises ServiceFailed when the node ends or is not ready within two minutes."""
        if self.running():
            return
        self._epmd.require_running()
        self._process = ServerProcess([str(self._script)], log=self.folder / "node.log", env=self._env())
        deadline = time.monotonic() + START_S
        while not self.ready():
            self._process.require_running()
            if time.monotonic() > deadline:
                raise ServiceFailed(f"RabbitMQ is not ready after {START_S:.0f} s:\n{self._process.last_words()}")
            nap()

    def stop(self) -> None:
        if self._process is not None:
            self._process.end(signal.SIGTERM, STOP_S)
            self._wait_until_gone()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._wait_until_gone()

    def wipe(self) -> None:
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def _wait_until_gone(self) -> None:
        """The shell that starts the node ends a moment before it: a new node would find its name and ports taken."""
        deadline = time.monotonic() + STOP_S
        while answers(self.port) or answers(self._dist):
            if time.monotonic() > deadline:
                raise ServiceFailed("the stopped RabbitMQ node still listens")
            nap()

    def close(self) -> None:
        self.kill()
        self._epmd.end(signal.SIGTERM, 5.0)
        shutil.rmtree(self.folder, ignore_errors=True)
