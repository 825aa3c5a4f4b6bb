"""A test run that leaves a test out is a failed run, and says which test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.broker import RabbitmqNode
from tests.services.errors import ProviderUnavailable, ServiceFailed
from tests.services.providers import CONTAINERS_ONLY, first

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "from tests.services.report import ServiceReport\ndef pytest_configure(config):\n    config.pluginmanager.register(ServiceReport(config))\n"


def run_pytest(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(PLUGIN)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    (folder / "test_sample.py").write_text(f"import pytest\n{tests}")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_in_which_everything_ran_is_fine(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, "def test_fine(): pass\n").returncode == 0


def test_a_skipped_test_fails_the_run_and_is_named(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, f"@pytest.mark.{'skip'}\ndef test_left_out(): pass\ndef test_fine(): pass\n")
    assert done.returncode == 1
    assert "test_left_out: skipped" in done.stdout


def test_a_file_that_leaves_itself_out_fails_the_run(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, f"pytest.{'importorskip'}('no_such_module_anywhere')\n")
    assert done.returncode != 0
    assert "test_sample.py: skipped" in done.stdout


def test_a_test_expected_to_fail_fails_the_run_whether_it_fails_or_not(tmp_path: Path) -> None:
    mark = f"@pytest.mark.{'xfail'}"
    done = run_pytest(tmp_path, f"{mark}\ndef test_bad(): assert False\n{mark}\ndef test_good(): pass\n")
    assert done.returncode == 1
    assert "test_bad: expected to fail" in done.stdout
    assert "test_good: expected to fail" in done.stdout


def test_where_no_service_is_to_be_had_the_failure_names_every_way_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(CONTAINERS_ONLY, raising=False)

    def refused(reason: str) -> Callable[[], RabbitmqNode]:
        def provide() -> RabbitmqNode:
            raise ProviderUnavailable(reason)

        return provide

    with pytest.raises(ServiceFailed) as failure:
        first(
            "RabbitMQ", [("testcontainers", refused("no Docker")), ("private node", refused("none"))], "Start Docker."
        )
    assert str(failure.value).splitlines() == [
        "no RabbitMQ to be had for the tests:",
        "  - testcontainers: no Docker",
        "  - private node: none",
        "Start Docker.",
    ]
