"""`daifu bench` measures the real pipeline and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from pipeline.cli.bench import trial
from pipeline.cli.bench.upstreams import Witness
from pipeline.store.bench import Told
from tests.integration.pipeline_process import DAIFU
from tests.services.broker import RabbitmqNode

FIELDS = {
    "scenario",
    "orders",
    "orders_per_s",
    "in_flight_max",
    "rss_mb",
    "latency_ms",
    "cpu_s_per_1000",
    "broker",
    "database",
    "audit_ok",
}


def bench(*arguments: str, **settings: str) -> tuple[int, dict[str, Any]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAIFU_")}
    done = subprocess.run(
        [str(DAIFU), "bench", *arguments],
        env={**kept, **{f"DAIFU_{name}": value for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_embedded_it_needs_no_server() -> None:
    code, row = bench("--scenario", "B", "--orders", "30", "--json")
    assert code == 0
    assert row.keys() >= FIELDS
    assert (row["scenario"], row["orders"], row["broker"], row["database"]) == ("B", 30, "memory://", "sqlite")
    assert (row["audit_ok"], row["ended_once"]) == (True, True)
    assert row["in_flight_max"] == 30  # every payment waits half a second, all at once
    assert row["latency_ms"]["p50"] >= 550


def test_on_servers_it_makes_its_own_tables_and_queues_and_removes_them(
    broker: RabbitmqNode, fresh_vhost: str, fresh_database: str
) -> None:
    code, row = bench(
        "--orders", "40", "--workers", "settlement=2", BROKER_URL=fresh_vhost, DATABASE_URL=fresh_database
    )
    assert code == 0
    assert (row["audit_ok"], row["ended_once"], row["database"]) == (True, True, "postgresql")
    assert "@" not in row["broker"].replace("***@", "")
    assert row["cpu_s"].keys() >= {"intake", "credentials", "payment", "settlement", "notification", "relay"}
    vhost = fresh_vhost.rpartition("/")[2]
    assert broker.management.request("GET", f"/queues/{vhost}") == []
    engine = create_engine(fresh_database)
    with engine.connect() as connection:
        left = connection.execute(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'daifu%'")).all()
    engine.dispose()
    assert left == []


def test_a_second_debit_or_a_missing_callback_is_seen() -> None:
    """What the upstreams saw decides, not our own tables."""
    witness = Witness()
    witness.taken.update(trial.holds(3))
    witness.told.update(trial.callbacks(3))
    assert trial.saw_each_once(witness, 3)
    witness.taken["E000000001"] += 1
    assert not trial.saw_each_once(witness, 3)
    witness.taken["E000000001"] -= 1
    del witness.told["bench000000000002 1"]
    assert not trial.saw_each_once(witness, 3)


@pytest.mark.parametrize(("count", "p50", "p99"), [(1, 1.0, 1.0), (100, 51.0, 100.0), (200, 101.0, 199.0)])
def test_latency_is_the_median_and_the_99th_percentile(count: int, p50: float, p99: float) -> None:
    began = datetime(2026, 11, 20, tzinfo=UTC)
    told = [Told(began, began + timedelta(milliseconds=number)) for number in range(1, count + 1)]
    assert trial.latency_ms(told) == {"p50": p50, "p99": p99}
