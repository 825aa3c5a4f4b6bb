"""The Docker engine, where one answers, through testcontainers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker.errors  # type: ignore[import-untyped]  # docker-py ships no types
import requests
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.docker_client import DockerClient

from tests.services.errors import ProviderUnavailable
from tests.services.ports import LOOPBACK

# What docker-py raises when nothing answers, when an answer is a refusal, and when an image is not to be had; TimeoutError is
# testcontainers' word for a container that does not answer on its published port.
ENGINE_ERRORS = (docker.errors.DockerException, requests.RequestException, TimeoutError)


@contextmanager
def engine_errors_mean_none() -> Iterator[None]:
    """An engine that doesn't answer, or can't do what is asked, counts as none: raises ProviderUnavailable."""
    try:
        yield
    except ENGINE_ERRORS as error:
        raise ProviderUnavailable(f"Docker: {str(error).splitlines()[0][:300]}") from error


def _configure() -> None:
    # Nothing but the service's own image may be needed, and every container is removed at the session's end.
    testcontainers_config.ryuk_disabled = True
    # On a machine that looks like a container it would go by the bridge's address, where nothing is published.
    testcontainers_config.connection_mode_override = ConnectionMode.docker_host
    testcontainers_config.tc_host_override = LOOPBACK
    # Its own words on standard error would mix with the tests' report.
    logging.getLogger("testcontainers").setLevel(logging.WARNING)


def require_image(image: str) -> None:
    """An engine on this machine that holds the image or can pull it. Raises ProviderUnavailable.

    A remote engine counts as none: its ports are not on our loopback interface.
    """
    _configure()
    with engine_errors_mean_none():
        client = DockerClient().client
        try:
            address = str(client.api.base_url)
            if not address.startswith(("http+docker://", "http://localhost", f"http://{LOOPBACK}")):
                raise ProviderUnavailable(f"the Docker engine at {address} is not on this machine")
            client.ping()
            if not client.images.list(name=image):
                client.images.pull(image)
        finally:
            client.close()


def publish(container: Any, inside: int, outside: int) -> None:
    """Publish a port on the loopback interface, at a number that stays the same over a restart of the container.

    testcontainers' own `with_bind_ports` takes no address and would listen on every interface.
    """
    container.ports[str(inside)] = (LOOPBACK, outside)


def is_running(container: Any) -> bool:
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    return str(wrapped.status) == "running"
