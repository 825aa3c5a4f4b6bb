"""`daifu up`: all five stages, the relay, the desk and the doors in one process; the embedded default unless URLs say otherwise."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import click

from pipeline import log
from pipeline.broker import declare
from pipeline.cli import demo_run
from pipeline.cli.assembly import PaymentOutside
from pipeline.cli.door import DoorPart
from pipeline.cli.home import am_token, hold_home, prepare_home
from pipeline.cli.house import House, open_house, railway_of
from pipeline.cli.lifetime import Lifetime, say_ready
from pipeline.cli.parts import RelayPart, StagePart
from pipeline.clock import WallClock
from pipeline.railway.sandbox.web import Server, serve
from pipeline.railway.sandbox.world import World, open_world
from pipeline.settings import Settings, read, split_listen
from pipeline.store import control, migrate
from pipeline.store.work import STAGES


@click.command()
@click.option("--demo", is_flag=True, help="Send the sample orders through and print how each ended; keeps serving.")
def up(demo: bool) -> None:
    """Run everything in this process until SIGTERM."""
    settings = demo_run.with_demo_times(read()) if demo else read()
    log.set_up(level=settings.log_level)
    sys.exit(asyncio.run(_up(settings, demo=demo)))


async def _up(settings: Settings, *, demo: bool) -> int:
    prepare_home(settings)
    with hold_home(settings):
        running = await start_all(settings)
        if demo:
            rows = await demo_run.run(running.house, running.sandbox_url, demo_run.load(None))
            click.echo(demo_run.table_of(rows))
            click.echo(f"控制台 {running.door.console_url}  沙箱 {running.sandbox_url}  (Ctrl-C 结束)")
            if running.first_sign_in is not None:
                click.echo(f"首次登录 (30 分钟内有效, 只能用一次): {running.first_sign_in}")
        return await running.serve_until_stopped()


@dataclass(slots=True)
class Running:
    """Everything `daifu up` has started."""

    house: House
    lifetime: Lifetime
    door: DoorPart
    sandbox_url: str | None
    sandbox: Server | None
    world: World | None
    first_sign_in: str | None  # a one-time link, where the console has no user yet

    async def serve_until_stopped(self) -> int:
        code = await self.lifetime.serve_until_stopped()
        await self._close_doors()
        return code

    async def stop(self) -> None:
        await self.lifetime.finish()
        await self._close_doors()

    async def _close_doors(self) -> None:
        if self.sandbox is not None:
            await self.sandbox.close()
        if self.world is not None:
            self.world.close()


async def start_all(settings: Settings) -> Running:
    """Start every part. Raises what `open_house` raises, and OSError for an address in use."""
    migrate.upgrade(settings.database)
    if not settings.embedded:
        declare.apply(settings.broker_url)
    world, sandbox, settings = await _with_sandbox(settings)
    house = open_house(settings, "up")
    if settings.embedded:
        # One process at a time has this home: whatever incarnation is not closed died with the one before.
        house.store.write(control.bury_workers)
    vault, keys = house.passwords(), house.service_keys()
    railway, cashier = railway_of(settings, house.clock)
    outside = PaymentOutside(railway, cashier, vault)
    parts = [StagePart(house, stage, outside if stage == "payment" else None, keys) for stage in STAGES]
    door = DoorPart(house, vault, keys, am_token(settings))
    lifetime = Lifetime(house, [*parts, RelayPart(house, keys), door])
    health = await lifetime.start()
    sandbox_url = settings.railway_url if world is not None else None
    first = await door.first_sign_in()
    say_ready(http=door.url, console=door.console_url, health=health, sandbox=sandbox_url, **first)
    return Running(house, lifetime, door, sandbox_url, sandbox, world, first.get("first_sign_in"))


async def _with_sandbox(settings: Settings) -> tuple[World | None, Server | None, Settings]:
    """Start the sandbox where neither 12306 nor a cashier was named, and let callbacks reach this machine then."""
    if settings.railway_url is not None or settings.cashier_url is not None:
        return None, None, settings
    settings.home.mkdir(parents=True, exist_ok=True)
    world = open_world(WallClock(), settings.home / "sandbox.jsonl")
    host, port = split_listen(settings.sandbox_listen)
    server = await serve(world, host, port)
    base = f"http://{host}:{server.port}"
    known = settings.model_dump()
    known.update(
        railway_url=base,
        cashier_url=f"{base}/cashier",
        callback_allow_http=True,
        callback_allow_nets=(*settings.callback_allow_nets, "127.0.0.0/8"),
    )
    return world, server, Settings.model_validate(known)
