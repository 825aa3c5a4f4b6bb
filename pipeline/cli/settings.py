"""`daifu settings`."""

from __future__ import annotations

import click

from pipeline import settings as setting_reader
from pipeline.cli.context import read_settings
from pipeline.cli.output import as_json, emit, table


@click.command()
@as_json
def settings(*, json_: bool) -> None:
    """Every setting, its value and where it comes from; secrets as ***."""
    rows = setting_reader.shown(read_settings())
    named = [{"setting": f"{setting_reader.PREFIX}{name}", **row} for name, row in rows.items()]
    emit(rows, json_=json_, human=lambda: table(named, ("setting", "value", "source")))
