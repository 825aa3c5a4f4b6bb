"""For `make test-containers` alone: a Docker engine and images made by it. `make test` does not come here."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import docker  # type: ignore[import-untyped]  # docker-py ships no types
import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGE: Final = os.environ["DAIFU_TEST_IMAGE"]
COMPOSE: Final = ROOT / "deploy" / "compose.yaml"
PROJECT: Final = "daifu-test"


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    client = docker.from_env(timeout=300)
    yield client
    client.close()


def until(what: str, true: Callable[[], Any], within_s: float = 120.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < end, f"not after {within_s:.0f} s: {what}"
        time.sleep(0.5)
    return found


class Compose:
    """`deploy/compose.yaml` with the images that are here. Grafana is not: the rest is started by name."""

    OURS = ("intake", "credentials", "payment", "settlement", "notification", "relay", "serve", "sandbox")
    SERVICES = (*OURS, "prometheus")

    def __init__(self) -> None:
        self.env = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE": "docker-compose",
            "DAIFU_IMAGE": IMAGE,
            "RABBITMQ_IMAGE": os.environ["DAIFU_TEST_RABBITMQ_IMAGE"],
            "POSTGRES_IMAGE": os.environ["DAIFU_TEST_POSTGRES_IMAGE"],
            "PROMETHEUS_IMAGE": os.environ["DAIFU_TEST_PROMETHEUS_IMAGE"],
        }

    def run(self, *arguments: str, stdin: str = "", code: int = 0, **variables: str) -> str:
        """Its stdout. Raises AssertionError with all it said for another exit code."""
        return self._run(["docker-compose", "--file", str(COMPOSE), *arguments], stdin, code, variables)

    def script(self, name: str, *arguments: str, code: int = 0) -> str:
        """A script of `deploy/`."""
        return self._run([str(ROOT / "deploy" / name), *arguments], "", code, {})

    def daifu(self, service: str, *arguments: str, stdin: str = "", code: int = 0) -> str:
        return self.run("run", "--rm", "--no-deps", "-T", service, *arguments, stdin=stdin, code=code)

    def json(self, service: str, *arguments: str) -> Any:
        return json.loads(self.daifu(service, *arguments, "--json"))

    def _run(self, command: list[str], stdin: str, code: int, variables: Mapping[str, str]) -> str:
        env = {**self.env, **variables}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=600, check=False)
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def containers(self, client: Any) -> Mapping[str, Any]:
        """Its long-running containers by service."""
        label = f"com.docker.compose.project={PROJECT}"
        return {it.labels["com.docker.compose.service"]: it for it in client.containers.list(filters={"label": label})}


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    """The whole installation, from nothing, with its one-shot setup done."""
    site = Compose()
    try:
        try:
            site.run("up", "--detach", "--no-build", *site.SERVICES)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{site.run('logs', '--no-color', 'secrets', 'setup')[-4000:]}") from None
        yield site
    finally:
        site.run("down", "--volumes", "--timeout", "60")
