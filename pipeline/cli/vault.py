"""`daifu vault`: the two key rings (DESIGN section 9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from pipeline import operations_vault as operations
from pipeline.cli.context import acting, opened, read_settings
from pipeline.cli.output import as_json, emit, table
from pipeline.operations_errors import Refused
from pipeline.settings import Settings
from pipeline.store.sealed import Ring
from pipeline.vault import KeyRing

COLUMNS = ("ring", "path", "key_id", "public_key", "keys", "created")
RINGS: Final[tuple[Ring, ...]] = ("passwords", "services")
which = click.option(
    "--ring",
    type=click.Choice(RINGS),
    help="passwords: 12306 passwords, the payment worker's alone; services: merchant and callback keys. Default: both.",
)


@click.group()
def vault() -> None:
    """Key rings: make, rotate, close everything anew, let old keys go."""


@vault.command("keygen")
@which
@as_json
def keygen(ring: Ring | None, *, json_: bool) -> None:
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
def rotate(ring: Ring | None, *, json_: bool) -> None:
    """Add a new current key; what was sealed with the old ones still opens. Processes read a changed ring by themselves."""
    rows = []
    for name, path in _paths(read_settings(), ring).items():
        rotated = KeyRing.load(path).rotate(datetime.now(UTC))
        rotated.save(path)
        rows.append(_row(name, path, rotated, created=False))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


@vault.command("reseal")
@which
@as_json
@acting
def reseal(ring: Ring | None, *, json_: bool, actor: str) -> None:
    """Close every sealed text in the database with the current key. Stages may run; broken off, give it again.

    Needs the ring itself and the tables' owner; first every process must have the ring with the new key.
    """
    settings = read_settings()
    rows = []
    with opened(settings) as store:
        for name, path in _paths(settings, ring).items():
            held = KeyRing.load(path)
            done = operations.reseal(store, held, name, actor)
            rows.append(
                {"ring": name, "key_id": held.public.key_id, "resealed": done.moved, "unreadable": done.unreadable}
            )
    emit(rows, json_=json_, human=lambda: table(rows, ("ring", "key_id", "resealed", "unreadable")))


@vault.command("retire")
@which
@as_json
@acting
def retire(ring: Ring | None, *, json_: bool, actor: str) -> None:
    """Remove all keys but the current one. Refused while something is sealed with an old one, and for a day after `rotate`."""
    settings = read_settings()
    rows = []
    with opened(settings) as store:
        for name, path in _paths(settings, ring).items():
            retired = operations.retire(store, KeyRing.load(path), name, datetime.now(UTC), actor)
            retired.save(path)
            rows.append(_row(name, path, retired, created=False))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


def _paths(settings: Settings, ring: Ring | None) -> Mapping[Ring, Path]:
    paths: dict[Ring, Path] = {"passwords": settings.vault_path, "services": settings.service_keys_path}
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
