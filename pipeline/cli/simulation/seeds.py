"""Runs a seed from its first order to its verdict."""

from __future__ import annotations

import logging

import structlog

from pipeline.cli.simulation.aftermath import Aftermath
from pipeline.cli.simulation.people import ACTS
from pipeline.cli.simulation.swarm import draw
from pipeline.cli.simulation.trial import Trial
from pipeline.cli.simulation.verdict import Verdict, judge
from pipeline.cli.simulation.virtual_loop import Deadlock, LeftVirtualTime, Livelock, run_virtual

ORDERS, HOURS = 20, 1.0


def quiet() -> None:
    """Nobody reads the log lines of a thousand deaths, and they take time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run_seed(seed: int, orders: int = ORDERS, hours: float = HOURS) -> Verdict:
    """The verdict on a seed; a pure function of the arguments and the code. Never raises for what the product does."""
    verdicts: list[Verdict] = []

    async def run() -> None:
        trial = Trial(draw(seed, ACTS), orders, hours)
        trial.start()
        try:
            await trial.under_fire()
            aftermath = Aftermath(trial)
            await aftermath.run()
            verdicts.append(judge(trial, aftermath.left))
        finally:
            await trial.stop()

    try:
        run_virtual(run)
    except (Exception, Deadlock, Livelock, LeftVirtualTime) as error:  # noqa: BLE001 - whatever it is, the seed has failed
        return _failed(seed, orders, verdicts, f"{type(error).__name__}: {error}")
    return verdicts[0]


def _failed(seed: int, orders: int, verdicts: list[Verdict], words: str) -> Verdict:
    if not verdicts:
        return Verdict(seed, orders, 0, {}, "", (words,))
    known = verdicts[0]
    return Verdict(
        seed, known.orders, known.events, known.outcomes, known.digest, (*known.broken, words), known.happened
    )
