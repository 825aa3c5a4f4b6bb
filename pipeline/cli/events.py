"""`daifu events`."""

from __future__ import annotations

from datetime import datetime

import click

from pipeline import operations
from pipeline.cli.context import Moment, acting, write
from pipeline.cli.output import as_json, emit


@click.group()
def events() -> None:
    """Send results to AM again."""


@events.command("resend")
@click.option("--since", type=Moment(), help="All results since this time.")
@click.option("--order", "order_no", metavar="NO", help="All results of this order.")
@as_json
@acting
def resend(since: datetime | None, order_no: str | None, *, json_: bool, actor: str) -> None:
    """The relay publishes stored results again, as they were, on daifu.events."""
    if (since is None) == (order_no is None):
        raise click.UsageError("give either --since TIME or --order NO")
    count = write(lambda tx: operations.resend_events(tx, actor, since=since, order_no=order_no))
    emit({"results": count}, json_=json_, human=lambda: f"{count} results are sent again")
