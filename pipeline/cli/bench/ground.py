"""Where a bench runs: a home, tables and queues of its own, gone when it is over."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pipeline.broker import declare
from pipeline.broker.topology import TOPOLOGY, prefixed
from pipeline.cli.bench.orders import AGENTS, in_two_days
from pipeline.cli.bench.prefix import open_prefixed_house
from pipeline.cli.home import prepare_home
from pipeline.cli.house import House
from pipeline.operations_agents import add_agent, top_up_fund
from pipeline.secret import Secret
from pipeline.settings import PREFIX, Settings
from pipeline.store import bench, migrate
from pipeline.store.engine import Transaction
from pipeline.vault import KeyRing
from schemas.fields import MAX_FEN

ACTOR: Final = "human:bench"
#: Settings that a bench takes over; all others are the defaults, so that two runs are the same run.
KEPT: Final = (
    "home",
    "broker_url",
    "broker_socket",
    "database_url",
    "railway_url",
    "cashier_url",
    "callback_allow_http",
    "callback_allow_nets",
)


@dataclass(frozen=True, slots=True)
class Ground:
    """`settings` are those of every process of the bench; `prefix` stands before every queue and exchange."""

    settings: Settings
    prefix: str
    departure_at: datetime

    def house(self, name: str) -> House:
        """As `open_house`, on this ground's queues. Raises what that raises."""
        return open_prefixed_house(self.settings, self.prefix, name)

    def environment(self) -> dict[str, str]:
        """What a process of this bench is told by `DAIFU_…` variables."""
        told = self.settings.model_dump(include=set(KEPT), exclude_none=True)
        return {f"{PREFIX}{name.upper()}": _text(value) for name, value in told.items()}


@contextmanager
def ground(settings: Settings) -> Iterator[Ground]:
    """Make everything, and remove it afterwards, whatever happened. SQLite lies in the ground's own home.

    Raises StoreUnavailable, UnsafeDatabase, BrokerUnavailable.
    """
    name = f"daifu_bench_{secrets.token_hex(4)}"
    prefix = "" if settings.embedded else f"{name}."
    url = settings.database_url
    own_schema = not url.startswith("sqlite") and url != ""
    with tempfile.TemporaryDirectory(prefix="daifu-bench-") as folder:
        try:
            told: dict[str, Any] = {**settings.model_dump(include=set(KEPT)), "home": Path(folder)}
            if own_schema:
                told["database_url"] = bench.create_schema(url, name)
            if prefix:
                declare.apply(settings.broker_url, prefixed(TOPOLOGY, prefix))
            own = Settings.model_validate(told)
            prepare_home(own)
            migrate.upgrade(own.database)
            yield Ground(own, prefix, in_two_days())
        finally:
            if prefix:
                declare.remove(settings.broker_url, prefixed(TOPOLOGY, prefix))
            if own_schema:
                bench.drop_schema(url, name)


def add_agents(house: House, callback: str = "https://{code}.example/callback", key: Secret | None = None) -> None:
    """The bench's agents, each with as much money as one top-up may bring. `key`: of all of them, generated if None."""
    keys = KeyRing.load(house.settings.service_keys_path).public

    def add(tx: Transaction) -> None:
        for code in AGENTS:
            add_agent(tx, code, callback.format(code=code), key, keys, ACTOR, allow_http=True)
            top_up_fund(tx, code, MAX_FEN, "bench", ACTOR)

    house.store.write(add)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
