"""`daifu doctor` on a real RabbitMQ and a real PostgreSQL: what a fresh installation misses, step by step until it is well."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from pipeline.broker import declare
from pipeline.broker.depths import QueueDepths
from pipeline.broker.factory import open_broker
from pipeline.broker.messages import wake_message
from pipeline.broker.topology import TOPOLOGY, queue_of
from tests.unit.cli_home import Home

STAGES = ("intake", "credentials", "payment", "settlement", "notification")


def test_a_fresh_installation_is_led_to_health(tmp_path: Path, fresh_vhost: str, fresh_database: str) -> None:
    home = Home(tmp_path / "home")
    own = {
        "DAIFU_BROKER_URL": fresh_vhost,
        "DAIFU_DATABASE_URL": fresh_database,
        "DAIFU_HEALTH_LISTEN": "127.0.0.1:9306",
    }

    def doctor() -> dict[str, list[dict[str, Any]]]:
        home.path.mkdir(exist_ok=True, mode=0o700)
        result = home.call("doctor", "--json", **own)
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in json.loads(result.stdout)["checks"]:
            rows.setdefault(row["name"], []).append(row)
        assert result.exit_code == (0 if all(row["ok"] for some in rows.values() for row in some) else 1)
        return rows

    found = doctor()
    assert found["database"][0]["mend"] == "run `daifu db upgrade`"
    missing = [row for row in found["broker"] if not row["ok"]]
    assert len(missing) == len(TOPOLOGY.queues) + len(TOPOLOGY.exchanges)
    assert {row["mend"] for row in missing} == {"run `daifu topology apply`"}

    for command in (("db", "upgrade"), ("topology", "apply"), ("vault", "keygen")):
        assert home.call(*command, **own).exit_code == 0
    asyncio.run(wake(fresh_vhost))
    found = doctor()
    assert found["database"][0]["detail"].startswith("PostgreSQL ")
    assert [row["detail"] for row in found["broker"] if not row["ok"]] == ["daifu.payment: 1 messages and no consumer"]
    assert [row["detail"] for row in found["workers"]] == [f"no worker of {stage} is alive" for stage in STAGES]
    assert all(row["ok"] for name in ("clock", "password vault", "service keys", "callbacks") for row in found[name])


async def wake(url: str) -> None:
    broker = open_broker(url, name="test")
    await broker.outbox().publish([wake_message("payment", "o:1:pay")])
    await broker.close()


def test_depths_are_the_brokers_own_and_a_missing_queue_is_left_out(fresh_vhost: str) -> None:
    depths = QueueDepths(fresh_vhost, name="test")
    try:
        assert depths.read() == []
        declare.apply(fresh_vhost)
        asyncio.run(wake(fresh_vhost))
        found = {one.queue: one for one in depths.read()}
        assert set(found) == {queue.name for queue in TOPOLOGY.queues}
        assert found[queue_of("payment")] == ("daifu.payment", 1, 0)
    finally:
        depths.close()
