"""RabbitMQ in a container, by testcontainers."""

from __future__ import annotations

import os
import secrets
import time

from testcontainers.community.rabbitmq import RabbitMqContainer

from tests.services.broker import RabbitmqNode
from tests.services.docker_engine import engine_errors_mean_none, is_running, publish, require_image
from tests.services.errors import ServiceFailed
from tests.services.management import Management
from tests.services.ports import LOOPBACK, free_ports, nap

# An image with the management plugin.
IMAGE = os.environ.get("DAIFU_TEST_RABBITMQ_IMAGE", "rabbitmq:4.0-management")
START_S = 180.0
USER = "daifu-test"
AMQP, MANAGEMENT = 5672, 15672


class ContainerNode(RabbitmqNode):
    """Started by this run, removed by it."""

    def __init__(self) -> None:
        require_image(IMAGE)
        amqp, self._management_port = free_ports(2)
        self._password = secrets.token_hex(16)
        management = Management(LOOPBACK, self._management_port, USER, self._password)
        super().__init__(f"testcontainers, image {IMAGE}", USER, self._password, amqp, management)
        self._container: RabbitMqContainer | None = None

    def _create(self) -> RabbitMqContainer:
        # The node is named after its host: with another name it would not find its own disk again.
        container = RabbitMqContainer(IMAGE, username=USER, password=self._password, hostname="daifu")
        publish(container, AMQP, self.port)
        publish(container, MANAGEMENT, self._management_port)
        return container

    def running(self) -> bool:
        return self._container is not None and is_running(self._container)

    def start(self) -> None:
        """Raises ProviderUnavailable when the engine can't run the image, ServiceFailed when the node gets not ready."""
        if self.running():
            return
        with engine_errors_mean_none():
            if self._container is None:
                self._container = self._create()
                self._container.start()
            else:
                self._container.get_wrapped_container().start()
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.ready():
            if not self.running() or time.monotonic() > deadline:
                raise ServiceFailed(f"RabbitMQ in a container ({IMAGE}) is not ready:\n{self._last_words()}")
            nap()

    def _last_words(self) -> str:
        if self._container is None:
            return ""
        return b"".join(self._container.get_logs()).decode(errors="replace")[-4000:]

    def stop(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        if self.running() and self._container is not None:
            self._container.get_wrapped_container().kill()

    def wipe(self) -> None:
        self.close()

    def close(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None
