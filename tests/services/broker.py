"""What every provider of a RabbitMQ gives the tests."""

from __future__ import annotations

import http.client
import secrets
from abc import ABC, abstractmethod
from urllib.parse import quote

from tests.services.errors import NotOurs, ServiceFailed
from tests.services.management import Management
from tests.services.ports import LOOPBACK, answers

AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
OLDEST = (3, 10)


class RabbitmqNode(ABC):
    """A RabbitMQ with its management API. `provider` says where it is from, `version` is what it calls itself."""

    def __init__(
        self, provider: str, user: str, password: str, port: int, management: Management, host: str = LOOPBACK
    ) -> None:
        self.provider = provider
        self.management = management
        self.version = ""
        self.port = port
        self._host = host
        self._userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}"

    def url(self, vhost: str = "/") -> str:
        """`amqp://user:password@host:port/vhost`, the virtual host percent-encoded: kombu and pika read it alike."""
        return f"amqp://{self._userinfo}@{self._host}:{self.port}/{quote(vhost, safe='')}"

    def create_vhost(self) -> str:
        """A new, empty virtual host; its name."""
        name = f"daifu-test-{secrets.token_hex(6)}"
        self.management.create_vhost(name)
        return name

    def delete_vhost(self, name: str) -> None:
        """With its queues and connections."""
        self.management.delete_vhost(name)

    def ready(self) -> bool:
        """Whether AMQP and the management API both answer."""
        if not answers(self.port, AMQP_GREETING, self._host):
            return False
        try:
            self.version = self.management.version()
        except (OSError, http.client.HTTPException, ServiceFailed):
            return False
        return True

    def require_version(self) -> None:
        """Raises ServiceFailed for a RabbitMQ older than 3.10, the oldest that daifu supports."""
        major, minor = self.version.split(".")[:2]
        if (int(major), int(minor)) < OLDEST:
            raise ServiceFailed(f"RabbitMQ {self.version} ({self.provider}) is older than 3.10: use a newer one")

    @abstractmethod
    def running(self) -> bool: ...

    @abstractmethod
    def start(self) -> None:
        """Start the stopped or killed node with the disk it left; returns once it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """An orderly stop."""

    @abstractmethod
    def kill(self) -> None:
        """The node dies at once; its disk stays."""

    @abstractmethod
    def wipe(self) -> None:
        """The node dies at once and loses its disk: after `start` there are no queues, no virtual hosts but `/`."""

    @abstractmethod
    def close(self) -> None:
        """The end of the session: nothing of it is left behind."""


class GivenNode(RabbitmqNode):
    """The broker that DAIFU_TEST_BROKER_URL names. It is never stopped."""

    def running(self) -> bool:
        return True

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        raise NotOurs("RabbitMQ", "DAIFU_TEST_BROKER_URL")

    kill = wipe = stop

    def close(self) -> None:
        """Whoever gave it keeps it."""
