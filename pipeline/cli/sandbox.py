"""`daifu sandbox`: 12306, the cashier and the agents, played by one process."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from pipeline import log
from pipeline.cli.lifetime import raise_file_limit, say_ready
from pipeline.clock import WallClock
from pipeline.railway.sandbox.web import serve
from pipeline.railway.sandbox.world import open_world
from pipeline.settings import Settings, read, split_listen


@click.command()
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="Keep state and journal in this file.")
def sandbox(journal: Path | None) -> None:
    """Play 12306, the cashier and the agents until SIGTERM."""
    settings = read()
    log.set_up()
    raise_file_limit()
    asyncio.run(_play(settings, journal))


async def _play(settings: Settings, journal: Path | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    world = open_world(WallClock(), journal)
    host, port = split_listen(settings.sandbox_listen)
    server = await serve(world, host, port)
    base = f"http://{host}:{server.port}"
    say_ready(sandbox=base, railway=base, cashier=f"{base}/cashier")
    await stopping.wait()
    await server.close()
    world.close()
