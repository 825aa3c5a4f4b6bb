"""`daifu doctor`: what a deployment gets wrong most often, each with what to do."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from pipeline.broker import declare
from pipeline.cli.context import opened, read_settings
from pipeline.cli.output import as_json, emit, table
from pipeline.errors import DaifuError
from pipeline.settings import Settings
from pipeline.store import migrate
from pipeline.store.clock import now
from pipeline.vault import KeyRing, PublicKey, VaultError

MAX_SKEW_S = 2.0


class Wrong(DaifuError):
    """A check found something wrong; the text says what and what to do."""


@click.command()
@as_json
def doctor(*, json_: bool) -> None:
    """Check settings, database, broker, key files and clock; exit 1 when something is wrong. It changes nothing."""
    settings = read_settings()
    checks: dict[str, Callable[[Settings], str]] = {
        "settings": _settings,
        "database": _database,
        "clock": _clock,
        "broker": _broker,
        "password vault": _vault,
        "service keys": _service_keys,
    }
    rows = [_checked(name, check, settings) for name, check in checks.items()]
    ok = all(row["ok"] for row in rows)
    emit({"ok": ok, "checks": rows}, json_=json_, human=lambda: table(rows, ("name", "ok", "detail")))
    if not ok:
        click.get_current_context().exit(1)


def _checked(name: str, check: Callable[[Settings], str], settings: Settings) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "detail": check(settings)}
    except (DaifuError, DBAPIError, OSError, ValueError) as error:
        return {"name": name, "ok": False, "detail": str(error).splitlines()[0]}


def _settings(settings: Settings) -> str:
    if settings.embedded:
        return "embedded: everything runs in `daifu up`"
    if not settings.database_url:
        raise Wrong("DAIFU_DATABASE_URL: several processes need one PostgreSQL, SQLite in HOME is for `daifu up`")
    missing = [name for name in ("railway_url", "cashier_url") if getattr(settings, name) is None]
    if missing:
        names = ", ".join(f"DAIFU_{name.upper()}" for name in missing)
        return f"{names} not set here: only the payment worker needs it"
    return "complete"


def _database(settings: Settings) -> str:
    if not settings.database_url and not (settings.home / "daifu.sqlite3").exists():
        raise Wrong(f"no database in {settings.home} yet: run `daifu up` or `daifu db upgrade`")
    stands_at, head = migrate.current(settings.database), migrate.head()
    if stands_at != head:
        raise Wrong(f"tables at revision {stands_at or 'none'}, this version needs {head}: run `daifu db upgrade`")
    return f"reachable, tables at revision {head}"


def _clock(settings: Settings) -> str:
    if not settings.database_url:
        return "one machine, one clock"
    with opened(settings) as store:
        skew_s = abs((store.read(now) - datetime.now(UTC)).total_seconds())
    if skew_s > MAX_SKEW_S:
        raise Wrong(f"{skew_s:.1f} s between this machine and the database: set both by NTP")
    return f"{skew_s:.2f} s from the database's"


def _broker(settings: Settings) -> str:
    if settings.embedded:
        return "memory://, inside `daifu up`"
    differences = declare.check(settings.broker_url)
    if differences:
        first = differences[0]
        raise Wrong(f"{len(differences)} differences, first {first.object}: {first.found}; see `daifu topology check`")
    return "reachable, topology as it should be"


def _vault(settings: Settings) -> str:
    if settings.vault_public_key is not None and not settings.vault_path.exists():
        return f"public key {PublicKey.parse(settings.vault_public_key).key_id} only: passwords can't be read here"
    ring = _ring(settings.vault_path)
    if settings.vault_public_key is not None:
        public = PublicKey.parse(settings.vault_public_key)
        if public.key_id not in ring.key_ids:
            raise Wrong(f"DAIFU_VAULT_PUBLIC_KEY {public.key_id} is not on the ring {settings.vault_path}")
    return f"{len(ring.key_ids)} keys, current {ring.public.key_id}"


def _service_keys(settings: Settings) -> str:
    ring = _ring(settings.service_keys_path)
    return f"{len(ring.key_ids)} keys, current {ring.public.key_id}"


def _ring(path: Path) -> KeyRing:
    if not path.exists():
        raise VaultError(f"no key ring {path}: run `daifu vault keygen`, or copy it here")
    folder = stat.S_IMODE(path.resolve().parent.stat().st_mode)
    if folder & 0o022:
        raise Wrong(f"{path.parent} may be written by others (mode {folder:04o}): chmod go-w {path.parent}")
    return KeyRing.load(path)
