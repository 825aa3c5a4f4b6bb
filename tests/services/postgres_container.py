"""PostgreSQL in a container, by testcontainers."""

from __future__ import annotations

import os
import secrets
import time

from sqlalchemy.engine import URL
from testcontainers.community.postgres import PostgresContainer

from tests.services.docker_engine import engine_errors_mean_none, is_running, publish, require_image
from tests.services.errors import ServiceFailed
from tests.services.ports import LOOPBACK, free_ports, nap
from tests.services.postgres import DRIVER, PostgresServer

IMAGE = os.environ.get("DAIFU_TEST_POSTGRES_IMAGE", "postgres:17")
START_S = 120.0
USER = "daifu_test"
PORT = 5432


class ContainerServer(PostgresServer):
    """Started by this run, removed by it."""

    def __init__(self) -> None:
        require_image(IMAGE)
        (self._port,) = free_ports(1)
        self._password = secrets.token_hex(16)
        maintenance = URL.create(DRIVER, USER, self._password, LOOPBACK, self._port, "postgres")
        super().__init__(f"testcontainers, image {IMAGE}", maintenance)
        self._container: PostgresContainer | None = None

    def _create(self) -> PostgresContainer:
        container = PostgresContainer(IMAGE, username=USER, password=self._password, dbname="postgres")
        publish(container, PORT, self._port)
        return container

    def running(self) -> bool:
        return self._container is not None and is_running(self._container)

    def start(self) -> None:
        """Raises ProviderUnavailable when the engine can't run the image, ServiceFailed when the server gets not ready."""
        if self.running():
            return
        with engine_errors_mean_none():
            if self._container is None:
                self._container = self._create()
                self._container.start()
            else:
                self._container.get_wrapped_container().start()
        deadline = time.monotonic() + START_S
        while not self.ready():
            if not self.running() or time.monotonic() > deadline:
                words = b"".join(self._container.get_logs()).decode(errors="replace")[-4000:]
                raise ServiceFailed(f"PostgreSQL in a container ({IMAGE}) is not ready:\n{words}")
            nap()

    def stop(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        if self.running() and self._container is not None:
            self._container.get_wrapped_container().kill()

    def close(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None
