"""The alert rules, the board and the runbook belong together, and name only what there is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from pipeline.cli import main
from pipeline.metric_families import FAMILIES, page
from tests.services.debian import install
from tests.services.errors import ProviderUnavailable
from tests.unit.metric_queries import ALERTS, DEPLOY, Alert, alerts, all_names, board_queries, names_in

DOCS = DEPLOY / "docs"
RUNBOOK = DOCS / "runbook.md"
PARTS = ("**Meaning**", "**At stake**", "**What to do**", "**What not to do**")
# In a sentence, or typed in an example; there up to a pipe, a redirection, a comment or the next command.
_COMMAND = re.compile(r"`daifu ([^`]+)`|^\$ (?:[^`\n]* [|&]{1,2} )?daifu ([^|<>#&\n]+)", re.MULTILINE)


@pytest.fixture(scope="session")
def promtool(announce: Callable[[str], None]) -> str:
    """Prometheus' own checker."""
    if shutil.which("promtool") is None:
        try:
            install(announce, "promtool", "prometheus")
        except ProviderUnavailable as error:
            pytest.fail(f"the alert rules are tested by promtool (Debian: apt-get install prometheus): {error}")
    return str(shutil.which("promtool"))


def run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_stays_quiet_nearby(promtool: str) -> None:
    run(promtool, "check", "config", "prometheus.yaml", folder=ALERTS.parent)
    run(promtool, "test", "rules", "alerts_test.yaml", folder=ALERTS.parent)
    tests = (ALERTS.parent / "alerts_test.yaml").read_text("utf-8")
    for alert in alerts():
        assert f"name: {alert.name} fires" in tests
        assert f"name: {alert.name} stays quiet" in tests


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_every_alert_has_its_entry_in_the_runbook(alert: Alert) -> None:
    file, _, anchor = alert.runbook.partition("#")
    assert (DEPLOY.parent / file, anchor) == (RUNBOOK, alert.name.lower())
    entry = RUNBOOK.read_text("utf-8").partition(f"## {alert.name}\n")[2].partition("\n## ")[0]
    assert all(part in entry for part in PARTS)
    assert entry.lstrip().startswith(f"`{alert.severity}`"), "the runbook says another severity than the rule"
    assert alert.severity in ("page", "ticket")


def test_the_runbook_has_no_entry_without_its_alert() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE) == [alert.name for alert in alerts()]


@pytest.mark.parametrize("file", ["runbook.md", "capacity.md", "drills.md"])
def test_every_command_in_a_document_is_one(file: str) -> None:
    for said, typed in _COMMAND.findall((DOCS / file).read_text("utf-8")):
        text = said or typed
        command: click.Command = main
        words = shlex.split(text.replace("\n", " "))
        with click.Context(command) as context:
            while words and isinstance(command, click.Group) and words[0] != "…":
                found = command.get_command(context, words.pop(0).rstrip(","))
                assert found is not None, f"`daifu {text}`"
                command = found
        options = {name for parameter in command.params for name in parameter.opts}
        wrong = [word for word in words if word.startswith("--") and word not in options]
        assert not wrong, f"`daifu {text}`: {wrong}"


def test_every_query_names_a_metric_of_ours() -> None:
    known = {family.name for family in FAMILIES}
    known |= {
        f"{family.name}_{part}"
        for family in FAMILIES
        if family.kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    assert not {name: place for name, place in all_names().items() if name not in known}
    assert all(names_in(expr) for expr in board_queries().values())


def test_the_page_of_metrics_says_what_the_table_says() -> None:
    text = (DOCS / "metrics.md").read_text("utf-8")
    assert text == page(), "run `python -m pipeline.metric_families > deploy/docs/metrics.md`"


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ('sum by (agent) (rate(a_total{outcome!="b"}[15m])) / on() max(c) > 0.5', {"a_total", "c"}),
        ("max(a) - max(a offset 15m) > 5 unless on () (b or c)", {"a", "b", "c"}),
        ("time() - max(d) > 4 * 3600", {"d"}),
    ],
)
def test_the_names_in_a_query_are_found(expr: str, names: set[str]) -> None:
    assert names_in(expr) == names
