"""`daifu simulate`: the whole pipeline by a seed, on one thread in virtual time, and whether the two promises held."""

from __future__ import annotations

from typing import Any

import click

from pipeline.cli.output import as_json, emit, fields, note

ORDERS, HOURS = 20, 1.0


@click.command()
@click.option("--seed", type=click.IntRange(min=0), required=True, help="The same seed is the same run, to the letter.")
@click.option(
    "--orders", type=click.IntRange(1, 10_000), default=ORDERS, show_default=True, help="How many orders come."
)
@click.option(
    "--hours",
    type=click.FloatRange(min=0, max=240, min_open=True),
    default=HOURS,
    show_default=True,
    help="Virtual hours in which they come, with faults.",
)
@as_json
def simulate(seed: int, orders: int, hours: float, *, json_: bool) -> None:
    """Run production code against a swarm of faults drawn from the seed, then without faults until all has ended.

    Needs no settings, no database and no broker. Exit 1 when a promise was broken: stderr says which, and how to rerun it.
    """
    from pipeline.cli.simulation.seeds import quiet, run_seed  # the sandbox and all stages, which help needs not

    quiet()
    verdict = run_seed(seed, orders, hours)
    shown = verdict.shown()
    emit(shown, json_=json_, human=lambda: fields(_flat(shown)))
    if not verdict.ok:
        for words in verdict.broken:
            note(words)
        note(f"run it again: daifu simulate --seed {seed} --orders {orders} --hours {hours:g}")
        click.get_current_context().exit(1)


def _flat(shown: dict[str, Any]) -> dict[str, Any]:
    """Counts as `name count` pairs, for people."""
    return {
        name: ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        for name, value in shown.items()
    }
