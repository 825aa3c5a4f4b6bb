"""`daifu serve`: the HTTP doors, as a foreground process."""

from __future__ import annotations

import asyncio
import sys

import click

from pipeline import log
from pipeline.cli.door import am_door
from pipeline.cli.house import open_house, vault_public
from pipeline.cli.lifetime import Lifetime, say_ready
from pipeline.health import HttpServer
from pipeline.settings import Settings, SettingsError, read, split_listen


@click.command()
def serve() -> None:
    """Serve the AM door until SIGTERM."""
    settings = read()
    if settings.am_token is None:
        raise SettingsError("DAIFU_AM_TOKEN: the AM door needs a token; generate one and give it to AM")
    log.set_up()
    sys.exit(asyncio.run(_serve(settings)))


async def _serve(settings: Settings) -> int:
    house = open_house(settings, "serve")
    if settings.am_token is None:
        raise SettingsError("DAIFU_AM_TOKEN: missing")
    server = HttpServer(am_door(house, house.broker.outbox(), vault_public(settings), settings.am_token))
    lifetime = Lifetime(house, [])
    health = await lifetime.start()
    address = await server.start(*split_listen(settings.http_listen))
    say_ready(http=f"http://{address}", health=health)
    code = await lifetime.serve_until_stopped()
    await server.close()
    return code
