"""What processes refuse to start with: the exit code, and a text that says what was wrong and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pytest

from pipeline.cli.home import prepare_home
from pipeline.store import migrate
from tests.integration.pipeline_house import House
from tests.services.ports import LOOPBACK, free_ports

NOWHERE: Final = f"amqp://{LOOPBACK}:{{port}}/"
PASSWORD: Final = "invented-database-password"


class Case(NamedTuple):
    """A command, the settings that differ from what would work, and what must be said."""

    arguments: tuple[str, ...]
    settings: dict[str, str]
    code: int
    says: tuple[str, ...]


CASES: Final[dict[str, Case]] = {
    "a worker on memory": Case(("worker", "intake"), {"BROKER_URL": "memory://"}, 2, ("daifu up", "BROKER_URL")),
    "a relay on memory": Case(("relay",), {"BROKER_URL": "memory://"}, 2, ("daifu up", "BROKER_URL")),
    "payment without 12306": Case(("worker", "payment"), {}, 2, ("DAIFU_RAILWAY_URL",)),
    "payment without a cashier": Case(
        ("worker", "payment"), {"RAILWAY_URL": "http://127.0.0.1:1"}, 2, ("DAIFU_CASHIER_URL",)
    ),
    "a setting that is no number": Case(("worker", "intake"), {"LEASE_S": "long"}, 2, ("DAIFU_LEASE_S",)),
    "a setting nobody knows": Case(("relay",), {"LEESE_S": "9"}, 2, ("DAIFU_LEESE_S", "no such setting")),
    "a lease shorter than a payment": Case(
        ("worker", "payment"), {"LEASE_S": "2", "PAY_TIMEOUT_S": "2"}, 2, ("LEASE_S", "PAY_TIMEOUT_S")
    ),
    "a stage that does not exist": Case(("worker", "refunds"), {}, 2, ("refunds", "settlement")),
    "a serve without a token": Case(("serve",), {}, 2, ("DAIFU_AM_TOKEN",)),
    "no database there": Case(
        ("worker", "credentials"),
        {"DATABASE_URL": f"postgresql+psycopg://daifu:{PASSWORD}@{LOOPBACK}:{{port}}/daifu"},
        3,
        ("DAIFU_DATABASE_URL",),
    ),
    "a database without tables": Case(
        ("worker", "credentials"), {"DATABASE_URL": "sqlite:///{folder}/empty.sqlite3"}, 2, ("daifu db upgrade",)
    ),
    "no key rings": Case(("worker", "notification"), {"HOME": "{folder}/nowhere"}, 2, ("daifu vault keygen",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_process_that_can_not_work_says_why_and_ends(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    (port,) = free_ports(1)
    database = tmp_path / "daifu.sqlite3"
    settings = {"BROKER_URL": NOWHERE, "DATABASE_URL": f"sqlite:///{database}", **case.settings}
    house = House(tmp_path, **{key: value.format(port=port, folder=tmp_path) for key, value in settings.items()})
    migrate.upgrade(f"sqlite:///{database}")
    prepare_home(House(tmp_path).settings)
    done = house.spawn(*case.arguments, within_s=30)
    assert done.code == case.code, done.stderr
    for words in case.says:
        assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr
    assert done.stdout == ""
