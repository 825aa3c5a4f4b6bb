"""`daifu db`."""

from __future__ import annotations

import click

from pipeline.cli.context import read_settings
from pipeline.cli.output import as_json, emit
from pipeline.store import migrate


@click.group()
def db() -> None:
    """The database's tables."""


@db.command("upgrade")
@as_json
def upgrade(*, json_: bool) -> None:
    """Create the tables, or bring them to what this version works with. Doing it twice is doing it once."""
    settings = read_settings()
    if not settings.database_url:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    revision = migrate.upgrade(settings.database)
    emit({"revision": revision}, json_=json_, human=lambda: f"the database stands at revision {revision}")
