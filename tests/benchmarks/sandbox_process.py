"""The sandbox that ships with daifu, in a process of its own, holding the orders of a bench: 12306, cashier and agents over HTTP.

`python -m tests.benchmarks.sandbox_process PLAN` with `Plan` as JSON; it prints its address, and at SIGTERM leaves beside the
plan what it saw (`Witness`), so that a bench is judged by its upstreams' own books.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Final

from aiohttp import web

from pipeline.cli.bench.orders import AGENTS, hold_no, in_two_days
from pipeline.cli.bench.upstreams import PEOPLE, PRICE_FEN, PRICES_FEN, Witness, account_of
from pipeline.cli.lifetime import raise_file_limit
from pipeline.clock import WallClock
from pipeline.railway.sandbox.web import create_app
from pipeline.railway.sandbox.world import World, open_world
from pipeline.secret import Secret

KEY: Final = "invented-merchant-key"
HOLD_FOR_S: Final = 2_400
BACKLOG: Final = 4_096
END_S: Final = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds 0 to `holds` - 1. A payment takes `pay_s`, a callback `callback_s`, every other answer `answer_s` seconds."""

    holds: int
    pay_s: float = 0.0
    callback_s: float = 0.0
    answer_s: float = 0.0


@dataclass(slots=True)
class Sandbox:
    """A running one, as the bench sees it."""

    process: Popen[str]
    base: str
    plan: Path

    @property
    def cashier(self) -> str:
        return f"{self.base}/cashier"

    @property
    def callback(self) -> str:
        """Where agents are called; `{code}` is the agent."""
        return f"{self.base}/sandbox/agents/{{code}}/callback"

    @property
    def key(self) -> Secret:
        """Every agent's merchant key."""
        return Secret(KEY)

    def seen(self) -> Witness:
        """End it; what it saw. Raises CalledProcessError, TimeoutExpired."""
        self.process.send_signal(signal.SIGTERM)
        if code := self.process.wait(END_S):
            raise RuntimeError(f"the sandbox ended with {code}")
        witness = Witness()
        witness.add(_witness_path(self.plan))
        return witness


@contextmanager
def sandbox(plan: Plan) -> Iterator[Sandbox]:
    """Started, with all its holds; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="daifu-sandbox-") as folder:
        path = Path(folder) / "plan.json"
        path.write_text(json.dumps(asdict(plan)), "utf-8")
        process = Popen([sys.executable, "-m", "tests.benchmarks.sandbox_process", str(path)], stdout=PIPE, text=True)
        try:
            assert process.stdout is not None
            with process.stdout:
                yield Sandbox(process, process.stdout.readline().strip(), path)
        finally:
            process.kill()
            process.wait()


def _witness_path(plan: Path) -> Path:
    return plan.with_name("sandbox-witness.json")


class _Waiting:
    """Every answer takes its time; how many payments were open at once."""

    def __init__(self, plan: Plan, witness: Witness) -> None:
        self._plan, self._witness = plan, witness

    @web.middleware
    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        pays = b"create_direct_pay_by_user" in await request.read() if request.path == "/cashier/gateway.do" else False
        self._witness.in_flight += pays
        self._witness.most_in_flight = max(self._witness.most_in_flight, self._witness.in_flight)
        try:
            response = await handler(request)
            await asyncio.sleep(self._wait_s(request, pays=pays))
            return response
        finally:
            self._witness.in_flight -= pays

    def _wait_s(self, request: web.Request, *, pays: bool) -> float:
        if pays:
            return self._plan.pay_s
        return self._plan.callback_s if request.path.startswith("/sandbox/") else self._plan.answer_s


def _world(plan: Plan, journal: Path) -> World:
    world = open_world(WallClock(), journal)
    for code in AGENTS:
        world.set_agent(code, {"key": KEY})
    departure_at = in_two_days().isoformat()
    people = [{"name": name, "id_type": "1", "id_no": id_no} for name, id_no, _seat in PEOPLE]
    seats = [{"seat": seat, "price_fen": fen} for (_name, _no, seat), fen in zip(PEOPLE, PRICES_FEN, strict=True)]
    for number in range(plan.holds):
        world.add_hold(
            {
                "account": account_of(hold_no(number)),
                "password": f"invented-{number}",
                "held_order_no": hold_no(number),
                "train_no": "T7",
                "departure_at": departure_at,
                "from": "北京西",
                "to": "成都",
                "passengers": people,
                "seats": seats,
                "price_fen": PRICE_FEN,
                "deadline_s": HOLD_FOR_S,
            }
        )
    return world


async def _play(path: Path, plan: Plan) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    world, witness = _world(plan, path.with_name("journal.jsonl")), Witness()
    app = create_app(world)
    app.middlewares.insert(0, _Waiting(plan, witness).__call__)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stopping.wait()
    await runner.cleanup()
    lines = world.journal()
    witness.taken = Counter(line["held_order_no"] for line in lines if line["kind"] == "debit")
    told = (line for line in lines if line["kind"] == "callback" and line["hmac_ok"])
    witness.told = Counter(f"{line['order_no']} {line['pay_status']}" for line in told)
    witness.save(_witness_path(path))
    world.close()


if __name__ == "__main__":
    raise_file_limit()
    plan_path = Path(sys.argv[1])
    asyncio.run(_play(plan_path, Plan(**json.loads(plan_path.read_text("utf-8")))))
