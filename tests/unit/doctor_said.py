"""What one check of `daifu doctor` says, for its tests."""

from __future__ import annotations

from pipeline.cli.findings import Check, Level, checked
from pipeline.settings import Settings, read
from tests.unit.cli_home import Home

PRODUCTION = {
    "BROKER_URL": "amqp://nobody@127.0.0.1:1/",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "HEALTH_LISTEN": "0.0.0.0:9306",
}


def settings(home: Home, **more: str) -> Settings:
    return read({f"DAIFU_{name}": value for name, value in {"HOME": str(home.path), **more}.items()})


def told(check: Check, given: Settings) -> list[tuple[str, str, str]]:
    """(level, detail, mend) of what is not fine."""
    rows = checked("it", check, given)
    assert all(bool(row["mend"]) == (row["level"] != Level.OK) for row in rows), "what is wrong says how to mend it"
    return [(row["level"], row["detail"], row["mend"]) for row in rows if row["level"] != Level.OK]
