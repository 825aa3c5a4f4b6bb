"""Load on the agents' door, on loopback: `python -m tests.benchmarks.door_load [--rounds N] [--seconds N] [--postgresql]`.

`daifu serve` alone and without a broker, on SQLite or on a private PostgreSQL. Each round sends 50 new NEED_PAY a second alone,
then the same beside 1,000 repeats a second, then beside both and slow senders, oversized bodies, header floods and garbage.
Every program that sends is a process of its own (`door_sender`). Not measured: making the connections, and the first two seconds
of orders after the start. One JSON line per round and one at the end; exit 1 where the median p99 of the orders beside the repeats
is above twice the median p99 alone, any request is not answered `ret:true`, or memory grows. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

from pipeline.cli.home import prepare_home
from pipeline.store import migrate
from schemas.tts_signature import need_pay_fields, signature
from tests.benchmarks.door_sender import Sending, Sent
from tests.integration.pipeline_house import House
from tests.integration.pipeline_orders import AGENT, KEY, Am
from tests.integration.pipeline_process import START_S, Process, request, until
from tests.services.ports import LOOPBACK, free_ports
from tests.services.providers import provide_postgres

ORDERS_PER_S: Final = 50
REPEATS_PER_S: Final = 1_000
REPEATED: Final = 50  # orders that the repeats are about
SLOW_SENDERS: Final = 200
LEAD_S: Final = 1.0  # from starting the senders to their first request
WARM_S: Final = 2
MEMORY_MB: Final = 30.0
TOKEN: Final = "token-of-a-benchmark"
PATH: Final = "/api/pub/ProcessPurchase.do"


def http_request(order_no: str) -> str:
    fields = {"merchantCode": AGENT, "orderNo": order_no, "opt": "NEED_PAY", "un": "agent_user01", "pw": "invented"}
    fields["HMAC"] = signature(KEY, [fields.get(name, "") for name in need_pay_fields("pw")])
    body = urlencode(fields)
    return f"POST {PATH} HTTP/1.1\r\nHost: daifu\r\nContent-Length: {len(body)}\r\n\r\n{body}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one phase of a round looked like to the agents, and the CPU seconds that the door, its database (none of its own on
    SQLite) and the agents' programs took of `cores_s`; what everything else on the machine took makes the same door slower.
    """

    orders_p99_ms: float
    orders_p50_ms: float
    repeats_p99_ms: float
    sender_late_ms: float
    failed: int
    cpu_s: float
    database_cpu_s: float
    senders_cpu_s: float
    others_cpu_s: float
    cores_s: float


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds spent up to now."""

    door: float
    database: float
    senders: float
    machine: float
    at: float

    @classmethod
    def now(cls, pid: int, postmaster: int | None) -> Spent:
        database = 0.0 if postmaster is None else sum(map(cpu_s, [postmaster, *children_of(postmaster)]))
        senders = os.times()
        user, nice, system = (int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:4])
        machine = (user + nice + system) / os.sysconf("SC_CLK_TCK")
        return cls(cpu_s(pid), database, senders.children_user + senders.children_system, machine, time.monotonic())

    def since(self, before: Spent) -> dict[str, float]:
        door, database = self.door - before.door, self.database - before.database
        senders = self.senders - before.senders
        others = self.machine - before.machine - door - database - senders
        cores_s = (os.cpu_count() or 1) * (self.at - before.at)
        spent = (door, database, senders, max(0.0, others), cores_s)
        names = ("cpu_s", "database_cpu_s", "senders_cpu_s", "others_cpu_s", "cores_s")
        return {name: round(each, 2) for name, each in zip(names, spent, strict=True)}


class Load:
    """The agents' programs against one door."""

    def __init__(self, port: int, pid: int, postmaster: int | None, names: list[str], seconds: int) -> None:
        self._port, self._pid, self._postmaster, self.seconds = port, pid, postmaster, seconds
        self._fresh = [http_request(name) for name in names]
        self._repeated = self._fresh[:REPEATED]

    async def warm_up(self) -> None:
        await self._send(self._take(WARM_S), WARM_S, ORDERS_PER_S, 20)

    async def phase(self, *, repeats: bool) -> Seen:
        before = Spent.now(self._pid, self._postmaster)
        orders = self._send(self._take(self.seconds), self.seconds, ORDERS_PER_S, 20)
        if repeats:
            sent, again = await asyncio.gather(orders, self._send(self._repeated, self.seconds, REPEATS_PER_S, 50))
        else:
            sent, again = await orders, Sent([], 0.0, 0)
        return Seen(
            percentile(sent.took_ms, 0.99),
            percentile(sent.took_ms, 0.5),
            percentile(again.took_ms, 0.99),
            round(sent.late_ms, 1),
            sent.failed + again.failed,
            **Spent.now(self._pid, self._postmaster).since(before),
        )

    async def harassed(self) -> Seen:
        done = asyncio.Event()
        nuisances = asyncio.create_task(nuisance(self._port, done))
        try:
            return await self.phase(repeats=True)
        finally:
            done.set()
            await nuisances

    def _take(self, seconds: int) -> list[str]:
        count = ORDERS_PER_S * seconds
        taken, self._fresh = self._fresh[:count], self._fresh[count:]
        return taken

    async def _send(self, requests: list[str], seconds: int, per_s: int, lines: int) -> Sent:
        sending = Sending(LOOPBACK, self._port, requests, per_s * seconds, per_s, lines, time.monotonic() + LEAD_S)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.benchmarks.door_sender",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(json.dumps(asdict(sending)).encode())
        assert process.returncode == 0, "a sender broke"
        return Sent(**json.loads(out))


async def nuisance(port: int, until_done: asyncio.Event) -> None:
    """Slow senders that stay, and others that send too much, too many headers, or no HTTP."""
    slow = [await asyncio.open_connection(LOOPBACK, port) for _ in range(SLOW_SENDERS)]
    head = f"POST {PATH} HTTP/1.1\r\nHost: daifu\r\n".encode()
    bad = (
        head + b"Content-Length: 5000000\r\n\r\n" + b"a" * 100_000,
        head + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n",
        b"\x16\x03\x01" * 2_000 + b"\r\n\r\n",
        http_request("nobody").encode() * 20 + b"\x00garbage\r\n\r\n",
    )
    for _, writer in slow:
        writer.write(head + b"Content-Length: 1000\r\n\r\nopt=")
    while not until_done.is_set():
        for content in bad:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(content)
            await asyncio.sleep(0.2)
            writer.transport.abort()
    for _, writer in slow:
        writer.transport.abort()


def percentile(values: list[float], part: float) -> float:
    return round(sorted(values)[max(0, int(len(values) * part) - 1)], 1) if values else 0.0


def rss_mb(pid: int) -> float:
    """Resident memory of a running process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024


def cpu_s(pid: int) -> float:
    """CPU seconds a running process has used: what a busy machine does not blur."""
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")


def children_of(parent: int) -> list[int]:
    """The processes that run below this one."""
    return [int(pid) for path in Path(f"/proc/{parent}/task").glob("*/children") for pid in path.read_text().split()]


@contextmanager
def database(folder: Path, *, postgresql: bool) -> Iterator[tuple[str, int | None]]:
    """Its URL, and PostgreSQL's first process."""
    if not postgresql:
        yield f"sqlite:///{folder / 'db.sqlite3'}", None
        return
    server = provide_postgres(ours=True)
    try:
        postmaster = Path(server.setting("data_directory")) / "postmaster.pid"
        yield server.url(server.create_database()), int(postmaster.read_text().split()[0])
    finally:
        server.close()


@contextmanager
def door(folder: Path, database_url: str) -> Iterator[tuple[House, Process]]:
    nobody, port = free_ports(2)
    house = House(
        folder,
        HTTP_LISTEN=f"{LOOPBACK}:{port}",
        AM_TOKEN=TOKEN,
        BROKER_URL=f"amqp://guest:guest@{LOOPBACK}:{nobody}/",
        DATABASE_URL=database_url,
    )
    try:
        prepare_home(house.settings)
        migrate.upgrade(house.settings.database)
        serve = house.start("serve", "serve")
        until("serve is ready", serve.ready, START_S)
        yield house, serve
    finally:
        house.close()


def send_orders(house: House, serve: Process, names: list[str]) -> None:
    am = Am(house)
    house.json("agents", "add", AGENT, "--callback", "https://agent.example/callback", stdin=KEY)
    for start in range(0, len(names), 500):
        events = [json.loads(am.event(am.order(name)).to_bytes()) for name in names[start : start + 500]]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        status, answer = request(f"{serve.address('http')}/am/messages", "POST", events, headers)
        assert status == 202, answer


async def measure(load: Load, serve: Process, rounds: int) -> dict[str, Any]:
    await load.warm_up()
    memory, seen = 0.0, []
    for number in range(rounds):
        now = {"alone": await load.phase(repeats=False)}
        memory = memory or rss_mb(serve.pid)
        now |= {"beside_repeats": await load.phase(repeats=True), "with_nuisances": await load.harassed()}
        print(json.dumps({"round": number + 1, **{name: asdict(one) for name, one in now.items()}}), flush=True)
        seen.append(now)
    p99 = {name: median(one[name].orders_p99_ms for one in seen) for name in seen[0]}
    cpu = {name: median(one[name].cpu_s for one in seen) for name in seen[0]}
    return {
        "rounds": rounds,
        "orders_per_s": ORDERS_PER_S,
        "repeats_per_s": REPEATS_PER_S,
        **{f"p99_{name}_ms": value for name, value in p99.items()},
        "ratio_beside_repeats": round(p99["beside_repeats"] / p99["alone"], 2),
        "ratio_with_nuisances": round(p99["with_nuisances"] / p99["alone"], 2),
        "cpu_ms_per_order": round(1000 * cpu["alone"] / (ORDERS_PER_S * load.seconds), 2),
        "cpu_ms_per_repeat": round(1000 * (cpu["beside_repeats"] - cpu["alone"]) / (REPEATS_PER_S * load.seconds), 2),
        "p99_repeats_ms": median(one["beside_repeats"].repeats_p99_ms for one in seen),
        "failed": sum(phase.failed for one in seen for phase in one.values()),
        "rss_before_mb": round(memory, 1),
        "rss_after_mb": round(rss_mb(serve.pid), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 31), metavar="1-30")
    parser.add_argument("--seconds", type=int, default=10, choices=range(2, 61), metavar="2-60", help="of each phase")
    parser.add_argument("--postgresql", action="store_true", help="a private PostgreSQL instead of SQLite")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, postmaster = stack.enter_context(database(folder, postgresql=asked.postgresql))
        house, serve = stack.enter_context(door(folder, url))
        names = [f"load{number}" for number in range(ORDERS_PER_S * (3 * asked.rounds * asked.seconds + WARM_S))]
        send_orders(house, serve, names)
        port = int(serve.address("http").rpartition(":")[2])
        found = asyncio.run(measure(Load(port, serve.pid, postmaster, names, asked.seconds), serve, asked.rounds))
    found["ok"] = (
        found["failed"] == 0
        and found["ratio_beside_repeats"] <= 2
        and found["rss_after_mb"] - found["rss_before_mb"] <= MEMORY_MB
    )
    print(json.dumps(found))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
