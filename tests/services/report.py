"""A pytest plugin: says which services were used, and fails a run in which a test was skipped or expected to fail."""

from __future__ import annotations

from typing import Any, Protocol

import pytest


class Provider(Protocol):
    provider: str
    version: str


class ServiceReport:
    """Kept for one session. A service that no test asked for is not started and not listed."""

    def __init__(self, config: pytest.Config) -> None:
        self._used: list[str] = []
        # A worker of pytest-xdist has no terminal: what it used is told to the process that has one.
        self._told: dict[str, Any] = getattr(config, "workeroutput", {})
        self._not_run: dict[str, str] = {}

    def used(self, service: str, source: Provider) -> None:
        self._used.append(f"{service} {source.version}: {source.provider}")
        self._told["services"] = self._used

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist ended."""
        self._used += getattr(node, "workeroutput", {}).get("services", [])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._not_run[report.nodeid] = "skipped"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "wasxfail"):
            self._not_run[report.nodeid] = "expected to fail"
        elif report.skipped:
            self._not_run[report.nodeid] = "skipped"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._not_run and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._used:
            terminalreporter.section("services")
            for line in self._used:
                terminalreporter.line(line)
        if self._not_run:
            terminalreporter.section("not run, so this run fails", red=True)
            for nodeid, why in self._not_run.items():
                terminalreporter.line(f"{nodeid}: {why}")
