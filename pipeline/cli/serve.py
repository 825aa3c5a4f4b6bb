"""`daifu serve`: the HTTP doors, as a foreground process."""

from __future__ import annotations

import asyncio
import sys

import click

from pipeline import log
from pipeline.cli.door import DoorPart
from pipeline.cli.house import open_house
from pipeline.cli.lifetime import Lifetime, raise_file_limit, say_ready
from pipeline.settings import Settings, SettingsError, read


@click.command()
def serve() -> None:
    """Serve the agents' interface, the AM door and the console until SIGTERM."""
    settings = read()
    if settings.am_token is None:
        raise SettingsError("DAIFU_AM_TOKEN: the AM door needs a token; generate one and give it to AM")
    log.set_up(level=settings.log_level)
    raise_file_limit()
    sys.exit(asyncio.run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    house = open_house(settings, "serve")
    if settings.am_token is None:
        raise SettingsError("DAIFU_AM_TOKEN: missing")
    door = DoorPart(house, house.sealer(), house.service_keys(), settings.am_token)
    lifetime = Lifetime(house, [door])
    health = await lifetime.start()
    say_ready(http=door.url, console=door.console_url, health=health, **await door.first_sign_in())
    return await lifetime.serve_until_stopped()
