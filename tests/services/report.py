"""A pytest plugin: says which services were used, and fails a run in which a test was skipped or expected to fail."""

from __future__ import annotations

from typing import Protocol

import pytest


class Provider(Protocol):
    provider: str
    version: str


class ServiceReport:
    """Kept for one session. A service that no test asked for is not started and not listed."""

    def __init__(self) -> None:
        self._used: list[str] = []
        self._not_run: dict[str, str] = {}

    def used(self, service: str, source: Provider) -> None:
        self._used.append(f"{service} {source.version}: {source.provider}")

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
