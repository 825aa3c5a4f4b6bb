"""`daifu schemas`."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.failures import CheckFailed
from pipeline.cli.output import as_json, emit
from schemas.export import COMMITTED, IncompatibleSchema, export


@click.group()
def schemas() -> None:
    """JSON Schemas of every message."""


@schemas.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=COMMITTED)
@as_json
def export_(folder: Path, *, json_: bool) -> None:
    """Write one schema per message into FOLDER; refused where neighbours would no longer understand it."""
    try:
        files = [str(path) for path in export(folder)]
    except IncompatibleSchema as error:
        raise CheckFailed(str(error)) from error
    emit({"files": files}, json_=json_, human=lambda: "\n".join(files))
