"""`daifu orders resolve`."""

from __future__ import annotations

from dataclasses import asdict

import click

from pipeline import operations_abnormal as operations
from pipeline.cli.context import acting, read_settings, write
from pipeline.cli.output import as_json, emit
from pipeline.operations_abnormal import Closed, Fate


@click.command()
@click.argument("order_no")
@click.option(
    "--as", "how", type=click.Choice([fate.value for fate in Fate]), required=True, help="What was found out."
)
@click.option("--debited-fen", type=click.IntRange(min=0), help="What left our account, in 分; not for never_debited.")
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
    """Close a 支付完成,出票异常. Above DAIFU_FOUR_EYES_FEN a second person gives the same command again."""
    settings = read_settings()
    closed = write(
        lambda tx: operations.close_abnormal(
            tx, order_no, Fate(how), debited_fen, evidence, actor, four_eyes_fen=settings.four_eyes_fen
        ),
        settings,
    )
    emit(asdict(closed), json_=json_, human=lambda: _human(closed))


def _human(closed: Closed) -> str:
    if closed.done:
        return f"{closed.order_no}: closed as {closed.how}"
    return f"{closed.order_no}: proposed as {closed.how}; another person has to give the same command"
