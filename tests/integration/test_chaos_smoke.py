"""The machinery of `make chaos`, small: a hundred orders, two kills, a cut network, a PostgreSQL restart; the verdict is clean.

The long runs are `make chaos` and `make soak`; that the verdict sees what is wrong is tests/unit/test_chaos_verdict.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.chaos import faults, parts
from tests.chaos.faults import Fire
from tests.chaos.plan import Plan
from tests.chaos.run import Run
from tests.services.broker import RabbitmqNode
from tests.services.postgres import PostgresServer

PLAN = Plan(seed=1, orders=100, minutes=0.15, parts=("workers",), hold_s=12.0)
SCRIPT: Final[tuple[Callable[[Fire], object], ...]] = (
    lambda fire: fire.kill("payment"),
    lambda fire: fire.stack.to_database.cut(1.0),
    lambda fire: fire.restart_database(at_once=True),
    lambda fire: fire.kill("settlement"),
    lambda fire: fire.stack.to_broker.cut(1.0),
    lambda fire: fire.stack.to_sandbox.cut(1.0),
)


@pytest.fixture
def run(rabbitmq_node: RabbitmqNode, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Run]:
    run = Run(PLAN, tmp_path, rabbitmq_node, postgres_server)
    try:
        yield run
    finally:
        run.close()


def test_a_hundred_orders_end_once_under_kills_a_cut_network_and_a_database_restart(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def act(fire: Fire) -> None:
        if not done:
            for step in SCRIPT:
                step(fire)
                fire.wait(1.0)
        done.append("all")
        fire.wait(0.5)

    monkeypatch.setattr(faults, "WEATHER_S", (3600.0, 3600.0))
    monkeypatch.setattr(parts, "PARTS", {"workers": act})
    verdict = run.play()
    assert verdict.findings == ()
    assert verdict.ok
    assert (verdict.orders, verdict.kills, verdict.double_paid, verdict.lost) == (100, 2, 0, 0)
