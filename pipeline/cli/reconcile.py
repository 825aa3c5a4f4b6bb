"""`daifu reconcile`: an Alipay bill against our books, and what does not agree."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from pipeline import operations
from pipeline.cli.context import acting, opened, read_settings, write_in
from pipeline.cli.output import as_json, emit, note, table, yuan
from pipeline.console.words_money import BREAKS
from pipeline.store.engine import Store
from pipeline.store.queries import Json
from pipeline.store.queries_reconciliation import BreakFilter, page_of_breaks

MOST = 1000


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--again", is_flag=True, help="Compare once more what did not agree, without a new bill.")
@as_json
@acting
@click.pass_context
def reconcile(ctx: click.Context, file: Path | None, *, again: bool, json_: bool, actor: str) -> None:
    """Compare an Alipay bill (CSV, GBK or UTF-8) with what was posted; without FILE list what does not agree.

    The same bill twice doubles nothing. Each break is a task: see `daifu tasks list`. Exits 1 while any break is open.
    """
    if file is not None and again:
        raise click.UsageError("FILE or --again, not both: a new bill is compared with everything anyway")
    with opened(read_settings()) as store:
        done = _compare(store, file, actor, again=again)
        rows = store.read(lambda tx: page_of_breaks(tx, BreakFilter(), limit=MOST)).rows
    if done is not None and not json_:
        note(done)
    emit(rows, json_=json_, human=lambda: table([_shown(row) for row in rows], COLUMNS))
    if rows:
        ctx.exit(1)


COLUMNS = ("id", "task", "what", "order_no", "trade_no", "bill", "here", "opened_at", "owner", "why")


def _compare(store: Store, file: Path | None, actor: str, *, again: bool) -> str | None:
    write = partial(write_in, store)
    if again:
        return f"{operations.compare_again(write, actor, 'daifu reconcile --again')} new breaks"
    if file is None:
        return None
    done = operations.upload_bill(write, file.name, file.read_bytes(), actor)
    return ", ".join(f"{name} {value}" for name, value in asdict(done).items())


def _shown(row: Json) -> Json:
    line = row["line"]
    return {
        "id": row["id"],
        "task": row["task_id"],
        "what": BREAKS[row["kind"]],
        "order_no": row["order_no"],
        "trade_no": row["trade_no"] if line is None else line["trade_no"],
        "bill": yuan(row["there_fen"]),
        "here": yuan(row["here_fen"]),
        "opened_at": row["opened_at"],
        "owner": row["taken_by"],
        "why": row["reason"],
    }
