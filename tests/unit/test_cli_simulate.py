"""`daifu simulate`: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from pipeline.cli.simulation.verdict import Verdict
from tests.unit.cli_home import Home


def test_it_prints_the_fields_and_ends_with_0(tmp_path: Path) -> None:
    shown = Home(tmp_path).json("simulate", "--seed", "7", "--orders", "3", "--hours", "0.2")
    assert {"seed", "orders", "events", "outcomes", "digest", "ok"} <= set(shown)
    assert (shown["seed"], shown["orders"], shown["ok"]) == (7, 3, True)
    assert sum(shown["outcomes"].values()) == 3
    assert shown["events"] > 0
    assert len(shown["digest"]) == 64


def test_a_broken_promise_ends_with_1_and_stderr_says_how_to_rerun(tmp_path: Path) -> None:
    broken = Verdict(7, 3, 100, {"purchased": 3}, "d" * 64, ("sim00001 was paid twice",))
    with patch("pipeline.cli.simulation.seeds.run_seed", lambda *_given: broken):
        result = Home(tmp_path).call("simulate", "--seed", "7", "--orders", "3", "--hours", "0.5", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert "sim00001 was paid twice" in result.stderr
    assert "daifu simulate --seed 7 --orders 3 --hours 0.5" in result.stderr


def test_the_same_seed_is_the_same_run_to_the_letter() -> None:
    """Two processes whose sets and dicts of text are ordered differently."""
    command = [
        sys.executable,
        "-c",
        "from pipeline.cli import main; main()",
        "simulate",
        "--seed",
        "11",
        "--orders",
        "6",
        "--hours",
        "0.3",
    ]
    said = [
        subprocess.run(command, env={"PYTHONHASHSEED": hashes}, capture_output=True, check=True).stdout
        for hashes in ("1", "4711")
    ]
    assert said[0] == said[1]
    assert b"digest" in said[0]
