"""`daifu archive`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from pipeline.cli.context import Moment, acting, opened, read_settings, write_in
from pipeline.cli.output import as_json, emit
from pipeline.store import history, retention

AT_ONCE = 200  # orders in one transaction
YOUNGEST = timedelta(days=30)


@click.command()
@click.option("--before", type=Moment(), required=True, help="Orders to which nothing has happened since then.")
@as_json
@acting
def archive(before: datetime, *, json_: bool, actor: str) -> None:
    """Move the stories of orders that are over into one row each, in batches, while everything runs.

    As the tables' owner: to every process history is append-only. Nothing else moves: orders, attempts, requests and ledger stay,
    so a late request is known, a paid hold is never paid again, and the audit adds up. `orders show` finds archived stories as before.
    """
    if before > datetime.now(UTC) - YOUNGEST:
        raise click.BadParameter(f"at least {YOUNGEST.days} days ago, please", param_hint="--before")
    settings = read_settings()
    count, last = 0, ""
    with opened(settings) as store:
        while True:
            moved = write_in(store, lambda tx, last=last: retention.archive(tx, before, last, AT_ONCE))  # type: ignore[misc]
            if not moved:
                break
            count, last = count + len(moved), moved[-1]
        write_in(store, lambda tx: history.audit(tx, actor, "archive", before.isoformat(), orders=count))
    emit({"archived": count}, json_=json_, human=lambda: f"{count} stories archived")
