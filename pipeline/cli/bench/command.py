"""`daifu bench`."""

from __future__ import annotations

import asyncio
import json

import click

from pipeline import log
from pipeline.broker.topology import STAGES
from pipeline.cli.bench import trial
from pipeline.cli.output import as_json, note
from pipeline.settings import SettingsError, read


def _workers(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    counts = {}
    for text in given:
        stage, _, count = text.partition("=")
        if stage not in STAGES or not count.isdigit() or not int(count):
            raise click.BadParameter(f"{text!r}: STAGE=N is expected, with a stage of {', '.join(STAGES)}")
        counts[stage] = int(count)
    return counts


@click.command()
@click.option("--scenario", type=click.Choice(tuple(trial.SCENARIOS)), default="A", show_default=True)
@click.option("--orders", type=click.IntRange(min=1), default=500, show_default=True)
@click.option(
    "--workers", multiple=True, metavar="STAGE=N", callback=_workers, help="Processes of a stage [default: one each]."
)
@as_json
def bench(scenario: str, orders: int, workers: dict[str, int], *, json_: bool) -> None:
    """Send orders through all five stages as fast as they go, on tables and queues of its own that are removed afterwards.

    A: 12306, cashier and agents answer at once. B: a payment takes 500 ms, a callback 50 ms. The database and the broker are
    those of the settings; without URLs everything runs in this process. Exit 1 unless every order ended exactly once and the
    audit is clean.
    """
    settings = read()
    if settings.embedded and workers:
        raise SettingsError("--workers: memory:// lives in one process; give DAIFU_BROKER_URL an amqp:// address")
    log.set_up(quiet=True)
    row = asyncio.run(trial.run(settings, trial.Asked(scenario, orders, workers)))
    if not json_:
        note("accepted to callback sent is latency_ms; cpu_s are seconds of this run by process")
    click.echo(json.dumps(row, ensure_ascii=False))
    if not (row["audit_ok"] and row["ended_once"]):
        click.get_current_context().exit(1)
