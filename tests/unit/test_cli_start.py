"""`daifu` itself: help, exit codes, and what it says when something is missing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import COMMANDS
from tests.unit.cli_home import Home
from tests.unit.message_samples import event

INTERFACES = [
    "up",
    "demo",
    "worker",
    "relay",
    "serve",
    "sandbox",
    "publish",
    "agents",
    "funds",
    "orders",
    "dead-letters",
    "topology",
    "db",
    "vault",
    "schemas",
    "audit",
    "settings",
    "events",
    "recover",
    "doctor",
    "pause",
    "resume",
    "accounts",
    "callbacks",
    "tasks",
    "users",
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_publishing_to_a_broker_that_is_away_is_exit_3_and_says_what_to_do(home: Home) -> None:
    gone = home.ready().call(
        "publish", "-", stdin=json.dumps(event("order.paid")), DAIFU_BROKER_URL="amqp://invented:invented@127.0.0.1:1/"
    )
    assert (gone.exit_code, "publish the same file again" in gone.stderr) == (3, True)


def test_help_names_every_command_and_loads_none() -> None:
    program = (
        "import sys; from pipeline.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('sqlalchemy', 'kombu', 'aiohttp', 'pydantic') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("[]\n")
    assert set(INTERFACES) <= set(COMMANDS)
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_an_unknown_command_is_a_usage_error(home: Home) -> None:
    assert home.call("no-such").exit_code == 2


def test_a_wrong_setting_is_named_with_exit_2(home: Home) -> None:
    result = home.call("settings", DAIFU_LEASE_S="soon")
    assert result.exit_code == 2
    assert "DAIFU_LEASE_S" in result.stderr
    assert home.call("settings", DAIFU_NO_SUCH="1").exit_code == 2


def test_settings_are_shown_with_their_source_and_without_secrets(home: Home) -> None:
    result = home.call(
        "settings", "--json", DAIFU_AM_TOKEN="an invented token", DAIFU_DATABASE_URL="postgresql://u:pw@h/d"
    )
    assert '"AM_TOKEN": {"value": "***", "source": "environment"}' in result.stdout
    assert "invented" not in result.output
    assert ":pw@" not in result.output


def test_a_database_without_tables_says_what_to_run(home: Home) -> None:
    home.path.mkdir()
    result = home.call("orders", "list")
    assert result.exit_code == 2
    assert "daifu db upgrade" in result.stderr
    assert result.stdout == ""


def test_a_database_that_cannot_be_reached_is_exit_3(home: Home) -> None:
    result = home.call("orders", "list", DAIFU_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert result.exit_code == 3
    assert "DAIFU_DATABASE_URL" in result.stderr


def test_a_broker_that_cannot_be_reached_is_exit_3(home: Home) -> None:
    result = home.call("topology", "check", DAIFU_BROKER_URL="amqp://guest:guest@127.0.0.1:1//")
    assert result.exit_code == 3
    assert "DAIFU_BROKER_URL" in result.stderr
    assert "guest:guest" not in result.stderr


def test_missing_keys_say_how_to_make_them(home: Home) -> None:
    home.json("db", "upgrade")
    result = home.call("agents", "add", "xcslw", "--callback", "https://agent.example")
    assert result.exit_code == 2
    assert "daifu vault keygen" in result.stderr


def test_keygen_makes_both_rings_for_their_owner_alone_and_never_again(home: Home) -> None:
    first = home.json("vault", "keygen")
    assert [(row["ring"], row["created"], row["keys"]) for row in first] == [
        ("passwords", True, 1),
        ("services", True, 1),
    ]
    assert all(stat.S_IMODE(os.stat(row["path"]).st_mode) == 0o600 for row in first)
    again = home.json("vault", "keygen")
    assert [(row["created"], row["key_id"]) for row in again] == [(False, row["key_id"]) for row in first]
    assert home.call("vault", "keygen", "--ring", "services").exit_code == 4


def test_rotate_adds_a_key_and_keeps_the_old_one(home: Home) -> None:
    first = home.json("vault", "keygen")
    (rotated,) = home.json("vault", "rotate", "--ring", "passwords")
    assert (rotated["keys"], rotated["key_id"] != first[0]["key_id"]) == (2, True)


def test_topology_on_memory_is_always_right(home: Home) -> None:
    assert home.json("topology", "check") == {"ok": True, "differences": [], "not_compared": []}
    assert home.json("topology", "apply") == {"ok": True}


def test_schemas_are_exported(home: Home, tmp_path: Path) -> None:
    files = home.json("schemas", "export", str(tmp_path / "schemas"))["files"]
    assert any(name.endswith("purchase.need_pay.schema.json") for name in files)
