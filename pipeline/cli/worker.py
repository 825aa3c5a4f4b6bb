"""`daifu worker STAGE` and `daifu relay`: one stage, or the relay with the dead-letter desk, as a foreground process."""

from __future__ import annotations

import asyncio
import sys

import click

from pipeline import log
from pipeline.cli.assembly import PaymentOutside
from pipeline.cli.house import House, open_house, railway_of, refuse_memory
from pipeline.cli.lifetime import Lifetime, give_way, raise_file_limit, say_ready
from pipeline.cli.parts import RelayPart, StagePart
from pipeline.settings import Settings, read
from pipeline.store.work import STAGES

NEED_SERVICE_KEYS = ("intake", "notification")


@click.command()
@click.argument("stage", type=click.Choice(STAGES))
def worker(stage: str) -> None:
    """Run one stage until SIGTERM."""
    settings = read()
    refuse_memory(settings)
    log.set_up(level=settings.log_level)
    sys.exit(asyncio.run(_work(settings, stage)))


@click.command()
def relay() -> None:
    """Run the relay and the dead-letter desk until SIGTERM."""
    settings = read()
    refuse_memory(settings)
    log.set_up(level=settings.log_level)
    sys.exit(asyncio.run(_relay(settings)))


async def _work(settings: Settings, stage: str) -> int:
    raise_file_limit()
    give_way(stage)
    house = open_house(settings, stage, by_index=True)
    keys = house.service_keys() if stage in NEED_SERVICE_KEYS else None
    lifetime = Lifetime(house, [StagePart(house, stage, _outside(house, stage), keys)])
    health = await lifetime.start()
    say_ready(stage=stage, health=health)
    return await lifetime.serve_until_stopped()


def _outside(house: House, stage: str) -> PaymentOutside | None:
    if stage != "payment":
        return None
    railway, cashier = railway_of(house.settings, house.clock)
    return PaymentOutside(railway, cashier, house.passwords())


async def _relay(settings: Settings) -> int:
    give_way("relay")
    house = open_house(settings, "relay")
    lifetime = Lifetime(house, [RelayPart(house, house.service_keys())])
    health = await lifetime.start()
    say_ready(stage="relay", health=health)
    return await lifetime.serve_until_stopped()
