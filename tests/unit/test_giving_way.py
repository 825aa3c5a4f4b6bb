"""Who waits where cores are short."""

from __future__ import annotations

import os

import pytest

from pipeline.broker.topology import STAGES
from pipeline.cli.lifetime import NICENESS, give_way


def test_what_begins_work_gives_way_to_what_finishes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    nicer = {}
    for name in (*STAGES, "relay"):
        give_way(name)
        nicer[name] = sum(asked)
        asked.clear()
    assert nicer == {**dict.fromkeys(STAGES, 0), "intake": NICENESS, "relay": NICENESS}
