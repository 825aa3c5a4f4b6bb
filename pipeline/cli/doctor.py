"""`daifu doctor`: what a deployment gets wrong most often, each with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import click

from pipeline.cli import doctor_inside, doctor_outside, doctor_rings
from pipeline.cli.context import read_settings
from pipeline.cli.findings import Check, Level, checked
from pipeline.cli.output import as_json, emit

CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "settings": doctor_inside.settings_fit,
        "database": doctor_inside.database,
        "clock": doctor_inside.clock,
        "broker": doctor_inside.broker,
        "policies": doctor_inside.policies,
        "password vault": doctor_rings.password_vault,
        "service keys": doctor_rings.service_keys,
        "workers": doctor_inside.workers,
        "audit": doctor_inside.audit,
        "12306": doctor_outside.railway,
        "cashier": doctor_outside.cashier,
        "callbacks": doctor_outside.callbacks,
    }
)
_MARKS: Final = {Level.OK: "ok     ", Level.WARNING: "warning", Level.WRONG: "WRONG  ", Level.UNREACHABLE: "WRONG  "}


@click.command()
@as_json
def doctor(*, json_: bool) -> None:
    """Check settings, database, broker, policies, keys, clocks, workers, 12306, cashier and callback addresses. It changes nothing and pays
    nothing. Exit 1: something is wrong; 3: a dependency can't be reached; warnings alone exit 0."""
    settings = read_settings()
    rows = [row for name, check in CHECKS.items() for row in checked(name, check, settings)]
    ok = all(row["ok"] for row in rows)
    emit({"ok": ok, "checks": rows}, json_=json_, human=lambda: "\n".join(_shown(row) for row in rows))
    if not ok:
        unreachable = any(row["level"] == Level.UNREACHABLE for row in rows)
        click.get_current_context().exit(3 if unreachable else 1)


def _shown(row: Mapping[str, Any]) -> str:
    line = f"{_MARKS[Level(row['level'])]}  {row['name']}: {row['detail']}"
    return f"{line}\n         -> {row['mend']}" if row["mend"] else line
