"""Three RabbitMQ nodes on loopback that form a cluster: own node names, ports, cookie and port mapper."""

from __future__ import annotations

import http.client
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.services.errors import ServiceFailed
from tests.services.management import Management
from tests.services.ports import LOOPBACK, answers, free_ports, nap
from tests.services.processes import ServerProcess
from tests.services.rabbitmq_private import find_epmd, find_server

SIZE: Final = 3
START_S: Final = 180.0
GONE_S: Final = 30.0


class ClusterNode:
    """One node. `name` is its Erlang name, `port` its AMQP port."""

    def __init__(self, folder: Path, name: str, user: str, password: str) -> None:
        self.name, self.folder = name, folder
        self.port, self._dist, management = free_ports(3)
        self.management = Management(LOOPBACK, management, user, password)
        self._management_port = management
        self._process: ServerProcess | None = None

    def write_settings(self, names: list[str], cookie: str, user: str, password: str) -> None:
        self.folder.mkdir()
        secret = self.folder / ".erlang.cookie"
        secret.write_text(cookie)
        secret.chmod(0o400)
        (self.folder / "environment.conf").write_text("")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        settings = self.folder / "rabbitmq.conf"
        settings.touch(mode=0o600)
        peers = "".join(f"cluster_formation.classic_config.nodes.{n} = {name}\n" for n, name in enumerate(names, 1))
        settings.write_text(
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}\n"
            f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {self._management_port}\n"
            f"default_user = {user}\ndefault_pass = {password}\ncollect_statistics_interval = 1000\n"
            "cluster_formation.peer_discovery_backend = classic_config\n" + peers
        )

    def env(self, epmd_port: int) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": folder,
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/environment.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def launch(self, epmd_port: int) -> None:
        self._process = ServerProcess([str(find_server())], log=self.folder / "node.log", env=self.env(epmd_port))

    def members(self) -> int:
        """How many running nodes this one sees; 0 while it does not answer. Raises ServiceFailed when it has ended."""
        if self._process is not None:
            self._process.require_running()
        try:
            nodes = self.management.request("GET", "/nodes?columns=name,running")
        except (OSError, http.client.HTTPException, ServiceFailed):
            return 0
        return sum(bool(node.get("running")) for node in nodes)

    def kill(self) -> None:
        """SIGKILL; returns once its ports are free."""
        if self._process is None:
            return
        self._process.kill()
        deadline = time.monotonic() + GONE_S
        while answers(self.port) or answers(self._dist):
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} was killed and still listens")
            nap()


class Cluster:
    """Three nodes; `start` returns once each sees all. User and password are the caller's, so that one URL fits all."""

    def __init__(self, user: str, password: str) -> None:
        mark = secrets.token_hex(4)
        self.folder = Path(tempfile.mkdtemp(prefix="daifu-cluster-"))
        (self._epmd_port,) = free_ports(1)
        names = [f"daifu{n}-{mark}@localhost" for n in range(1, SIZE + 1)]
        self.nodes = [ClusterNode(self.folder / name.partition("-")[0], name, user, password) for name in names]
        cookie = secrets.token_hex(20)
        for node in self.nodes:
            node.write_settings(names, cookie, user, password)
        command = [str(find_epmd()), "-port", str(self._epmd_port), "-address", LOOPBACK]
        self._epmd = ServerProcess(command, log=self.folder / "epmd.log", env=self.nodes[0].env(self._epmd_port))

    @property
    def targets(self) -> list[tuple[str, int]]:
        return [(LOOPBACK, node.port) for node in self.nodes]

    def start(self) -> None:
        """Raises ServiceFailed when the three do not find each other in three minutes."""
        for node in self.nodes:
            node.launch(self._epmd_port)
        self.wait_whole()

    def wait_whole(self) -> None:
        deadline = time.monotonic() + START_S
        while any(node.members() < SIZE for node in self.nodes):
            if time.monotonic() > deadline:
                raise ServiceFailed(f"the RabbitMQ cluster did not form in {START_S:.0f} s; logs in {self.folder}")
            nap()

    def queues(self, vhost: str, running: ClusterNode | None = None) -> dict[str, dict[str, Any]]:
        """The queues of a virtual host by name, as this node (the first) describes them."""
        return (running or self.nodes[0]).management.queues(vhost)

    def took_vhost(self, name: str) -> bool:
        """Make it; False where the nodes, just met and short of time, did not answer for long. Asking again does no harm."""
        try:
            self.nodes[0].management.create_vhost(name)
        except OSError:
            return False
        return True

    def leader_of(self, vhost: str, queue: str) -> ClusterNode:
        """The node where this queue's leader is now."""
        path = f"/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}"
        leader = self.nodes[0].management.request("GET", path)["leader"]
        return next(node for node in self.nodes if node.name == leader)

    def return_of(self, node: ClusterNode) -> None:
        """A killed node comes back with the disk it left."""
        node.launch(self._epmd_port)
        self.wait_whole()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        self._epmd.end(signal.SIGTERM, 5.0)
        shutil.rmtree(self.folder, ignore_errors=True)
