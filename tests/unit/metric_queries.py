"""What the alert rules and the board ask Prometheus for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
BOARD = DEPLOY / "grafana" / "daifu.json"
# PromQL: what stands in quotes or braces is labels, what comes before an opening bracket is a function or a keyword.
_LABELS = re.compile(r'"[^"]*"|\{[^}]*\}|\b(?:by|on|without)\s*\([^)]*\)|\[[^\]]*\]|\boffset\s+\w+')
_NAME = re.compile(r"\b([a-z_]\w*)\b(?!\s*\()")
_WORDS = frozenset({"and", "or", "unless", "by", "on", "le"})


class Alert(NamedTuple):
    name: str
    expr: str
    severity: str
    runbook: str


def alerts() -> list[Alert]:
    content: dict[str, Any] = yaml.safe_load(ALERTS.read_text("utf-8"))
    return [
        Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"]["runbook"])
        for group in content["groups"]
        for rule in group["rules"]
    ]


def board_queries() -> dict[str, str]:
    """By panel and query."""
    panels = json.loads(BOARD.read_text("utf-8"))["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel.get("targets", ())
    }


def names_in(expr: str) -> set[str]:
    """The metrics that a query names."""
    return {name for name in _NAME.findall(_LABELS.sub(" ", expr)) if name not in _WORDS}


def all_names() -> dict[str, str]:
    """Every metric that a rule or a panel names, and one place that does."""
    asked = {alert.name: alert.expr for alert in alerts()} | board_queries()
    return {name: place for place, expr in asked.items() for name in names_in(expr)}


def served(exposition: str) -> set[str]:
    """Metrics that have a value, in Prometheus' text format."""
    lines = (line for line in exposition.splitlines() if line and not line.startswith("#"))
    return {re.split(r"[ {]", line, maxsplit=1)[0] for line in lines}
