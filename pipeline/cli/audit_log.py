"""`daifu audit-log`: what the console's page finds, by command."""

from __future__ import annotations

import json
from datetime import datetime

import click

from pipeline.cli.context import Moment, opened, query, read_settings
from pipeline.cli.output import as_json, emit, table
from pipeline.operations_errors import PERSON
from pipeline.spreadsheet import csv_lines
from pipeline.store.acts import EXPORTED, ActFilter, all_acts, list_acts

COLUMNS = ("at", "actor", "role", "origin", "action", "subject", "result", "reason", "facts")


@click.command("audit-log")
@click.option("--actor", metavar="NAME", help="A person; a process by its full name, `system:relay`.")
@click.option("--action", metavar="ACT", help="`pause.stage`, or its beginning before the dot: `pause`.")
@click.option("--subject", metavar="TEXT", help="What it was done to: an order number, a name, a number.")
@click.option("--result", type=click.Choice(["done", "refused"]))
@click.option("--words", metavar="TEXT", help="In the reason or in what was written beside it.")
@click.option("--since", type=Moment(), help="At this time or later.")
@click.option("--until", type=Moment(), help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many.")
@click.option("--csv", "csv_", is_flag=True, help="All that is found, as CSV.")
@as_json
def audit_log(
    actor: str | None,
    action: str | None,
    subject: str | None,
    result: str | None,
    words: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    *,
    csv_: bool,
    json_: bool,
) -> None:
    """Every act of every person, latest first. Nobody can change it."""
    named = actor if actor is None or ":" in actor else f"{PERSON}{actor}"
    wanted = ActFilter(named, action, subject, result, words, since, until)
    if csv_:
        with opened(read_settings()) as store:
            for line in csv_lines(EXPORTED, all_acts(store, wanted)):
                click.echo(line, nl=False)
        return
    rows = query(lambda tx: list_acts(tx, wanted, limit=limit)).rows
    shown = [{**row, "facts": json.dumps(row["detail"], ensure_ascii=False) if row["detail"] else ""} for row in rows]
    emit(rows, json_=json_, human=lambda: table(shown, COLUMNS))
