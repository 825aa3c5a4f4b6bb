"""One process of a bench: `python -m pipeline.cli.bench.process STAGE PLAN`, the production parts with the bench's upstreams.

`PLAN` is a JSON file (see `Plan`). At its end the process leaves what its upstreams saw beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pipeline import log
from pipeline.cli.assembly import PaymentOutside
from pipeline.cli.bench.prefix import open_prefixed_house
from pipeline.cli.bench.upstreams import Agents, Cashier, Railway, Witness
from pipeline.cli.house import House, railway_of
from pipeline.cli.lifetime import Lifetime, give_way, raise_file_limit, say_ready
from pipeline.cli.parts import RelayPart, StagePart
from pipeline.settings import read
from pipeline.vault import KeyRing

RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Plan:
    """What every process of a bench must know: names, and how long the upstreams take (seconds).

    With `over_http` the upstreams are those that the settings name.
    """

    prefix: str
    departure_at: str
    pay_s: float
    callback_s: float
    over_http: bool = False

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Plan:
        return cls(**json.loads(path.read_text("utf-8")))


def witness_path(plan: Path, stage: str, pid: int) -> Path:
    """Where the process `pid` leaves what its upstreams saw."""
    return plan.with_name(f"witness-{stage}-{pid}.json")


def part_of(house: House, stage: str, plan: Plan, witness: Witness) -> StagePart | RelayPart:
    """The production's part of this stage, or the relay, with the bench's upstreams."""
    keys = KeyRing.load(house.settings.service_keys_path)
    if stage == RELAY:
        return RelayPart(house, keys)
    outside = _outside(house, plan, witness) if stage == "payment" else None
    return StagePart(house, stage, outside, keys, None if plan.over_http else Agents(witness, plan.callback_s))


def _outside(house: House, plan: Plan, witness: Witness) -> PaymentOutside:
    vault = KeyRing.load(house.settings.vault_path)
    if plan.over_http:
        return PaymentOutside(*railway_of(house.settings, house.clock), vault)
    railway = Railway(witness, house.clock, datetime.fromisoformat(plan.departure_at))
    return PaymentOutside(railway, Cashier(witness, plan.pay_s), vault)


async def _run(stage: str, path: Path, plan: Plan) -> int:
    witness = Witness()
    house = open_prefixed_house(read(), plan.prefix, stage)
    lifetime = Lifetime(house, [part_of(house, stage, plan, witness)])
    health = await lifetime.start()
    say_ready(stage=stage, health=health)
    code = await lifetime.serve_until_stopped()
    witness.save(witness_path(path, stage, os.getpid()))
    return code


if __name__ == "__main__":
    log.set_up()
    raise_file_limit()
    give_way(sys.argv[1])
    plan_path = Path(sys.argv[2])
    sys.exit(asyncio.run(_run(sys.argv[1], plan_path, Plan.load(plan_path))))
