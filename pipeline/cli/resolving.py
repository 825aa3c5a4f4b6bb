"""`daifu orders resolve`, and what belongs to it: what waits for it, the second person's confirm and deny."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline import operations
from pipeline.cli.context import acting, query, read_settings, write
from pipeline.cli.output import as_json, emit, table
from pipeline.operations import Closed, Fate
from pipeline.store.queries_abnormal import page_of_abnormal

COLUMNS = ("order_no", "agent", "reason", "hold_fen", "fare_fen", "held_order_no", "opened_at", "taken_by", "proposal")
MOST = 1_000
_fate = click.option("--as", "how", type=click.Choice([fate.value for fate in Fate]), required=True)
_debited = click.option(
    "--debited-fen", type=click.IntRange(min=0), help="What left our account, in 分; not for never_debited."
)


@click.command()
@click.argument("order_no")
@_fate
@_debited
@click.option("--evidence", required=True, help="What proves it: ticket numbers, a bill's line, who said so.")
@as_json
@acting
def resolve(
    order_no: str,
    how: str,
    debited_fen: int | None,
    evidence: str,
    *,
    json_: bool,
    actor: str,
) -> None:
    """Close a 支付完成,出票异常. Above DAIFU_FOUR_EYES_FEN a second person confirms it, or gives the same command again."""
    settings = read_settings()
    closed = write(
        lambda tx: operations.close_abnormal(
            tx, order_no, Fate(how), debited_fen, evidence, actor, four_eyes_fen=settings.four_eyes_fen
        ),
        settings,
    )
    emit(asdict(closed), json_=json_, human=lambda: _human(closed))


@click.command("abnormal")
@as_json
def abnormal(*, json_: bool) -> None:
    """Every 支付完成,出票异常 that waits for a person, with what was proposed; the oldest first."""
    rows = query(lambda tx: page_of_abnormal(tx, limit=MOST)).rows
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


@click.command("confirm")
@click.argument("order_no")
@_fate
@_debited
@click.option("--evidence", required=True, help="What you checked.")
@as_json
@acting
def confirm(order_no: str, how: str, debited_fen: int | None, evidence: str, *, json_: bool, actor: str) -> None:
    """As the second person: do what another proposed, named once more (see `daifu orders abnormal`)."""
    settings = read_settings()
    seen = (how, debited_fen or 0)
    closed = write(
        lambda tx: operations.confirm_closing(
            tx, order_no, seen, evidence, actor, four_eyes_fen=settings.four_eyes_fen
        ),
        settings,
    )
    emit(asdict(closed), json_=json_, human=lambda: _human(closed))


@click.command("deny")
@click.argument("order_no")
@click.option("--reason", required=True, metavar="TEXT", help="Why it is sent back.")
@as_json
@acting
def deny(order_no: str, reason: str, *, json_: bool, actor: str) -> None:
    """Send a proposed closing back; the order stays as it is."""
    write(lambda tx: operations.deny_closing(tx, order_no, reason, actor))
    emit(
        {"order_no": order_no, "proposal": None}, json_=json_, human=lambda: f"{order_no}: nothing is proposed any more"
    )


def _human(closed: Closed) -> str:
    if closed.done:
        return f"{closed.order_no}: closed as {closed.how}"
    return f"{closed.order_no}: proposed as {closed.how}; another person has to confirm it"
