"""`daifu vault`: the two key rings (DESIGN section 9)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pipeline.cli.context import read_settings
from pipeline.cli.output import as_json, emit, table
from pipeline.operations_errors import Refused
from pipeline.settings import Settings
from pipeline.vault import KeyRing

COLUMNS = ("ring", "path", "key_id", "public_key", "keys", "created")
which = click.option(
    "--ring",
    type=click.Choice(["passwords", "services"]),
    help="passwords: 12306 passwords, the payment worker's alone; services: merchant and callback keys. Default: both.",
)


@click.group()
def vault() -> None:
    """Key rings: make, rotate."""


@vault.command("keygen")
@which
@as_json
def keygen(ring: str | None, *, json_: bool) -> None:
    """Make the key rings that are not there yet; one that is there is never replaced."""
    paths = _paths(read_settings(), ring)
    rows = []
    for name, path in paths.items():
        there = path.exists()
        if there and ring is not None:
            raise Refused("ring_exists", f"{path} is there; `daifu vault rotate --ring {name}` adds a new key to it")
        if not there:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            KeyRing.generate(datetime.now(UTC)).save(path)
        rows.append(_row(name, path, KeyRing.load(path), created=not there))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


@vault.command("rotate")
@which
@as_json
def rotate(ring: str | None, *, json_: bool) -> None:
    """Add a new current key; what was sealed with the old ones still opens. Restart what holds the ring."""
    rows = []
    for name, path in _paths(read_settings(), ring).items():
        rotated = KeyRing.load(path).rotate(datetime.now(UTC))
        rotated.save(path)
        rows.append(_row(name, path, rotated, created=False))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


def _paths(settings: Settings, ring: str | None) -> dict[str, Path]:
    paths = {"passwords": settings.vault_path, "services": settings.service_keys_path}
    return paths if ring is None else {ring: paths[ring]}


def _row(name: str, path: Path, ring: KeyRing, *, created: bool) -> dict[str, Any]:
    public = ring.public
    return {
        "ring": name,
        "path": str(path),
        "key_id": public.key_id,
        "public_key": str(public),
        "keys": len(ring.key_ids),
        "created": created,
    }
