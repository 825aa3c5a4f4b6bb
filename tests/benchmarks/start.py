"""From the start of `daifu worker intake` to its first message handled: `python -m tests.benchmarks.start [--runs 5]`.

The message lies in the queue before the process starts; handled means its order is in the database. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from pipeline.broker import declare
from pipeline.broker.factory import open_broker
from pipeline.cli.bench import orders
from pipeline.cli.bench.ground import add_agents
from pipeline.cli.home import prepare_home
from pipeline.cli.house import House, open_house
from pipeline.settings import Settings
from pipeline.store import bench, migrate
from pipeline.vault import KeyRing
from tests.benchmarks.servers import DAIFU, Servers, servers

LOOK_S: Final = 0.01
WITHIN_S: Final = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with servers() as there, tempfile.TemporaryDirectory(prefix="daifu-start-") as folder:
        settings = there.settings().model_copy(update={"home": Path(folder)})
        prepare_home(settings)
        migrate.upgrade(settings.database)
        declare.apply(settings.broker_url)
        house = open_house(settings, "start")
        add_agents(house)
        took = [_once(there, house, number) for number in range(asked.runs)]
        asyncio.run(house.close())
    print(f"median {median(took):.2f} s; runs {' '.join(f'{one:.2f}' for one in took)}")
    return 0


def _once(there: Servers, house: House, number: int) -> float:
    asyncio.run(_send(house.settings, number))
    environment = {**there.environment(), "DAIFU_HOME": str(house.settings.home)}
    name = orders.order_no(number)
    began = time.monotonic()
    process = subprocess.Popen([str(DAIFU), "worker", "intake"], env=environment, stderr=subprocess.DEVNULL)
    try:
        while not house.store.read(lambda tx: bench.states(tx, name, name)):
            if time.monotonic() - began > WITHIN_S:
                raise TimeoutError("the worker handled nothing")
            time.sleep(LOOK_S)
        return time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


async def _send(settings: Settings, number: int) -> None:
    broker = open_broker(settings.broker_url, name="start")
    key = KeyRing.load(settings.vault_path).public
    await orders.publish(broker.outbox(), orders.messages(key, orders.in_two_days(), number, 1))
    await broker.close()


if __name__ == "__main__":
    raise SystemExit(main())
