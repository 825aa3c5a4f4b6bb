"""`daifu demo`: a fresh temporary database, short times, all samples through all five stages; 0 if each ended as expected."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from pipeline import log
from pipeline.cli import demo_run
from pipeline.cli.home import prepare_home
from pipeline.cli.output import as_json, emit
from pipeline.cli.up import start_all
from pipeline.settings import Settings, read

ANY_PORT = "127.0.0.1:0"


@click.command()
@click.option(
    "--samples", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Other samples than daifu's own."
)
@as_json
def demo(samples: Path | None, json_: bool) -> None:
    """Send sample orders through everything and compare how each ended with what was expected."""
    wanted = demo_run.load(samples)
    log.set_up(quiet=True)
    with tempfile.TemporaryDirectory(prefix="daifu-demo-") as folder:
        rows = asyncio.run(_demo(demo_run.with_demo_times(read()), Path(folder), wanted))
    emit(rows, json_=json_, human=lambda: demo_run.table_of(rows))
    sys.exit(0 if rows and all(row["ok"] for row in rows) else 1)


async def _demo(settings: Settings, folder: Path, samples: demo_run.Samples) -> list[dict[str, Any]]:
    """Embedded whatever the environment says: a demo must not write into a database that somebody uses."""
    own = settings.model_copy(
        update={
            "home": folder,
            "broker_url": "memory://",
            "database_url": "",
            "railway_url": None,
            "cashier_url": None,
            "vault_file": None,
            "service_keys_file": None,
            "http_listen": ANY_PORT,
            "sandbox_listen": ANY_PORT,
            "health_listen": ANY_PORT,
        }
    )
    prepare_home(own)
    running = await start_all(own)
    try:
        return await demo_run.run(running.house, running.sandbox_url, samples)
    finally:
        await running.stop()
