"""What README.md says of the code is drawn from the code."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.settings import Settings
from pipeline.states import diagram

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_the_state_diagram_is_the_one_that_the_transitions_draw() -> None:
    found = re.search(r"<!-- states -->\n```mermaid\n(.*?)\n```\n<!-- /states -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == diagram()


def test_every_setting_stands_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)
