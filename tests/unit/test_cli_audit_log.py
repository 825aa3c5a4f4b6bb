"""`daifu audit-log`: the same search as the console's page."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.unit.cli_home import Home


def test_the_audit_log_is_searched_and_exported_without_formulas(tmp_path: Path) -> None:
    home = Home(tmp_path).ready()
    home.json("pause", "stage", "payment", "--reason", "=1+1", "--by", "bob")
    home.json("resume", "stage", "payment", "--reason", "维护结束", "--by", "ann")
    assert [act["action"] for act in home.json("audit-log", "--limit", "2")] == ["resume.stage", "pause.stage"]
    (act,) = home.json("audit-log", "--actor", "bob", "--action", "pause")
    assert (act["actor"], act["role"], act["subject"], act["reason"]) == ("human:bob", "cli", "payment", "=1+1")
    assert home.json("audit-log", "--words", "维护结束")[0]["action"] == "resume.stage"
    assert home.json("audit-log", "--until", "2001-01-01T00:00:00") == []
    assert "维护结束" in home.call("audit-log").stdout
    (row,) = csv.DictReader(io.StringIO(home.call("audit-log", "--actor", "bob", "--csv").stdout))
    assert row["reason"] == "'=1+1"
