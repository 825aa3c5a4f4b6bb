"""The image as it is shipped: small, without build tools, and run as it will be run."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from tests.containers.conftest import IMAGE, ROOT, Compose, until

OURS_AT_MOST = 130_000_000  # bytes on top of the base image
STRICT = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "network_mode": "none"}


def run(engine: Any, *command: str, entrypoint: list[str] | None = None, **how: Any) -> str:
    options = {**STRICT, **how, **({} if entrypoint is None else {"entrypoint": entrypoint})}
    return bytes(engine.containers.run(IMAGE, list(command), remove=True, **options)).decode()


def test_without_an_argument_it_says_what_it_can_do_on_a_read_only_root_as_nobody(engine: Any) -> None:
    said = run(engine)
    assert "worker" in said
    assert "relay" in said
    assert run(engine, "-u", entrypoint=["id"]).strip() == "10001"


def test_it_is_small_and_holds_no_build_tools_and_none_of_our_other_files(engine: Any) -> None:
    layers = engine.images.get(IMAGE).history()
    assert sum(layer["Size"] for layer in layers[:-1]) < OURS_AT_MOST
    listed = run(engine, "/opt/daifu/lib", "-maxdepth", "3", "-name", "*.dist-info", entrypoint=["find"])
    packages = {line.rpartition("/")[2].partition("-")[0] for line in listed.splitlines()}
    assert {"daifu", "kombu", "sqlalchemy"} <= packages
    assert not packages & {"pip", "hatchling", "setuptools", "wheel", "editables", "pytest", "mypy"}
    search = "find / -xdev ( -name 'requirements*.lock' -o -name wheels -o -name Dockerfile ) 2>/dev/null || true"
    assert run(engine, "-c", search.replace("(", "\\(").replace(")", "\\)"), entrypoint=["sh"]) == ""


def test_two_builds_have_the_same_root_file_system(engine: Any) -> None:
    first, again = (root_of(engine, image) for image in (IMAGE, os.environ["DAIFU_TEST_IMAGE_AGAIN"]))
    assert any(line.endswith("opt/daifu/bin/daifu") for line in first)
    assert sorted(first ^ again) == []


def root_of(engine: Any, image: str) -> set[str]:
    """What `root_hash.py` makes its hash of."""
    container = engine.containers.create(image)
    try:
        command = f'docker export {container.id} | "{ROOT}/deploy/image/root_hash.py" --list'
        return set(
            subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=True).stdout.splitlines()
        )
    finally:
        container.remove()


def test_what_is_wrong_is_said_and_ends_with_the_documented_code(engine: Any) -> None:
    for arguments, environment, code in (
        (["worker", "payment"], {}, 2),
        (["worker", "nothing"], {}, 2),
        (["db", "upgrade"], {"DAIFU_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, 3),
        (["settings"], {"DAIFU_BROKER_URL_FILE": "/secrets/none"}, 2),
    ):
        container = engine.containers.run(IMAGE, arguments, detach=True, environment=environment, **STRICT)
        try:
            assert container.wait(timeout=120)["StatusCode"] == code, container.logs()
        finally:
            container.remove(force=True)


def test_a_worker_is_healthy_and_drains_at_sigterm(compose: Compose, engine: Any) -> None:
    worker = compose.containers(engine)["settlement"]

    def healthy() -> bool:
        worker.reload()
        return bool(worker.attrs["State"]["Health"]["Status"] == "healthy")

    until("the worker is healthy", healthy)
    assert worker.attrs["HostConfig"]["ReadonlyRootfs"] is True
    assert worker.exec_run(["id", "-u"]).output.strip() == b"10001"
    assert worker.exec_run(["touch", "/opt/daifu/x"]).exit_code != 0
    worker.stop(timeout=60)
    worker.reload()
    assert worker.attrs["State"]["ExitCode"] == 0
    events = [json.loads(line).get("event") for line in worker.logs().decode().splitlines() if line.startswith("{")]
    assert [it for it in events if it in ("ready", "draining", "stopped")] == ["ready", "draining", "stopped"]
    worker.start()
    until("the worker is healthy again", healthy)
