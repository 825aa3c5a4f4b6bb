"""The RabbitMQ and the PostgreSQL that benchmarks run on: those the tests would take (see tests/services)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from pipeline.settings import Settings
from tests.benchmarks.sandbox_process import Sandbox
from tests.services.broker import RabbitmqNode
from tests.services.postgres import PostgresServer
from tests.services.providers import provide_postgres, provide_rabbitmq

DAIFU: Final = Path(sys.executable).with_name("daifu")


def note(text: str) -> None:
    """Something beside the figures: on stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Servers:
    node: RabbitmqNode
    postgres: PostgresServer
    broker_url: str
    database_url: str

    def settings(self) -> Settings:
        return Settings(broker_url=self.broker_url, database_url=self.database_url)

    def settings_for(self, outside: Sandbox) -> Settings:
        """The same, with a sandbox as 12306, cashier and agents."""
        told = {"railway_url": outside.base, "cashier_url": outside.cashier}
        return self.settings().model_copy(
            update={**told, "callback_allow_http": True, "callback_allow_nets": (ip_network("127.0.0.0/8"),)}
        )

    def environment(self) -> dict[str, str]:
        """This process's, with the two addresses in place of every other setting."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAIFU_")}
        return {**kept, "DAIFU_BROKER_URL": self.broker_url, "DAIFU_DATABASE_URL": self.database_url}

    def bench(self, scenario: str, orders: int, *options: str) -> dict[str, Any]:
        """One `daifu bench`; its row. Raises CalledProcessError."""
        command = [str(DAIFU), "bench", "--json", "--scenario", scenario, "--orders", str(orders), *options]
        done = subprocess.run(command, env=self.environment(), stdout=subprocess.PIPE, text=True, check=True)
        row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return row


@contextmanager
def servers() -> Iterator[Servers]:
    """A virtual host and a database of their own, gone afterwards. Raises ServiceFailed."""
    node = provide_rabbitmq(note)
    try:
        postgres = provide_postgres()
        try:
            vhost, database = node.create_vhost(), postgres.create_database()
            note(f"RabbitMQ {node.version} ({node.provider}), PostgreSQL {postgres.version} ({postgres.provider})")
            yield Servers(node, postgres, node.url(vhost), postgres.url(database))
            node.delete_vhost(vhost)
            postgres.drop_database(database)
        finally:
            postgres.close()
    finally:
        node.close()
