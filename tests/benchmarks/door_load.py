"""Load on the agents' door, on loopback and bounded in time: `python -m tests.benchmarks.door_load [--seconds N]`.

`daifu serve` alone on SQLite and without a broker. First 50 new NEED_PAY a second, then the same under 1,000 repeats a second,
then both with slow senders, oversized bodies, header floods and garbage beside them. Prints one JSON line; exit 1 where the
repeats more than double the p99 of the orders, any request is not answered `ret:true`, or memory grows. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from pipeline.cli.home import prepare_home
from pipeline.store import migrate
from schemas.tts_signature import need_pay_fields, signature
from tests.integration.pipeline_house import House
from tests.integration.pipeline_orders import AGENT, KEY, Am
from tests.integration.pipeline_process import START_S, Process, request, until
from tests.services.ports import LOOPBACK, free_ports

ORDERS_PER_S: Final = 50
REPEATS_PER_S: Final = 1_000
SLOW_SENDERS: Final = 200
LEAD_S: Final = 1.0
MEMORY_MB: Final = 30.0
TOKEN: Final = "token-of-a-benchmark"
PATH: Final = "/api/pub/ProcessPurchase.do"


def http_request(order_no: str) -> bytes:
    fields = {"merchantCode": AGENT, "orderNo": order_no, "opt": "NEED_PAY", "un": "agent_user01", "pw": "invented"}
    fields["HMAC"] = signature(KEY, [fields.get(name, "") for name in need_pay_fields("pw")])
    body = urlencode(fields).encode()
    return f"POST {PATH} HTTP/1.1\r\nHost: daifu\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Line:
    """A kept connection; one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def send(self, content: bytes) -> bool:
        """Whether it was answered `ret:true`."""
        async with self._turn:
            if self._pair is None:
                self._pair = await asyncio.open_connection(LOOPBACK, self._port)
            reader, writer = self._pair
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            return b'"ret":true' in await reader.readexactly(length)

    def close(self) -> None:
        if self._pair is not None:
            self._pair[1].transport.abort()


async def at_rate(port: int, requests: list[bytes], per_s: int, lines: int) -> tuple[list[float], int]:
    """Send at fixed times whatever the answers do; seconds from each request's time to its answer, and how many failed."""
    loop = asyncio.get_running_loop()
    pool = [Line(port) for _ in range(lines)]
    # The senders are made first: what that takes is ours, not the door's.
    began, took, failed = loop.time() + LEAD_S, [], 0

    async def one(place: int, content: bytes) -> None:
        nonlocal failed
        due = began + place / per_s
        await asyncio.sleep(max(0.0, due - loop.time()))
        failed += not await pool[place % lines].send(content)
        took.append(loop.time() - due)

    try:
        await asyncio.gather(*(one(place, content) for place, content in enumerate(requests)))
    finally:
        for line in pool:
            line.close()
    return took, failed


async def nuisance(port: int, until_done: asyncio.Event) -> None:
    """Slow senders that stay, and others that send too much, too many headers, or no HTTP."""
    slow = [await asyncio.open_connection(LOOPBACK, port) for _ in range(SLOW_SENDERS)]
    head = f"POST {PATH} HTTP/1.1\r\nHost: daifu\r\n"
    bad = (
        f"{head}Content-Length: 5000000\r\n\r\n".encode() + b"a" * 100_000,
        head.encode() + b"".join(b"X-%d: 1\r\n" % number for number in range(500)) + b"\r\n",
        b"\x16\x03\x01" * 2_000 + b"\r\n\r\n",
        http_request("nobody") * 20 + b"\x00garbage\r\n\r\n",
    )
    for _, writer in slow:
        writer.write(f"{head}Content-Length: 1000\r\n\r\nopt=".encode())
    while not until_done.is_set():
        for content in bad:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(content)
            await asyncio.sleep(0.2)
            writer.transport.abort()
    for _, writer in slow:
        writer.transport.abort()


def rss_mb(process: Process) -> float:
    """Resident memory of a running process."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1024


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[max(0, int(len(seconds) * 0.99) - 1)]


@contextmanager
def door(folder: Path) -> Iterator[tuple[House, Process]]:
    nobody, port = free_ports(2)
    own = {
        "BROKER_URL": f"amqp://guest:guest@{LOOPBACK}:{nobody}/",
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
    }
    house = House(folder, HTTP_LISTEN=f"{LOOPBACK}:{port}", AM_TOKEN=TOKEN, **own)
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


async def measure(port: int, serve: Process, names: list[str], seconds: int) -> dict[str, Any]:
    count = ORDERS_PER_S * seconds
    fresh = [http_request(name) for name in names]
    warm, _ = await at_rate(port, fresh[: ORDERS_PER_S * 2], ORDERS_PER_S, 20)
    fresh = fresh[len(warm) :]
    alone, failed_alone = await at_rate(port, fresh[:count], ORDERS_PER_S, 20)
    memory = rss_mb(serve)
    repeated = [http_request(names[place % 50]) for place in range(REPEATS_PER_S * seconds)]

    async def beside_repeats(orders: list[bytes]) -> tuple[list[float], list[float], int]:
        (took, failed), (repeats, failed_repeats) = await asyncio.gather(
            at_rate(port, orders, ORDERS_PER_S, 20), at_rate(port, repeated, REPEATS_PER_S, 50)
        )
        return took, repeats, failed + failed_repeats

    loaded, repeats, failed = await beside_repeats(fresh[count : 2 * count])
    done = asyncio.Event()
    nuisances = asyncio.create_task(nuisance(port, done))
    harassed, _repeats, failed_harassed = await beside_repeats(fresh[2 * count : 3 * count])
    done.set()
    await nuisances
    return {
        "orders_per_s": ORDERS_PER_S,
        "repeats_per_s": REPEATS_PER_S,
        "p99_alone_ms": round(p99(alone) * 1000, 1),
        "p99_loaded_ms": round(p99(loaded) * 1000, 1),
        "p99_repeats_ms": round(p99(repeats) * 1000, 1),
        "p99_with_nuisances_ms": round(p99(harassed) * 1000, 1),
        "failed": failed_alone + failed + failed_harassed,
        "rss_before_mb": round(memory, 1),
        "rss_after_mb": round(rss_mb(serve), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, choices=range(2, 61), metavar="2-60")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder, door(Path(folder)) as (house, serve):
        names = [f"load{number}" for number in range(ORDERS_PER_S * (3 * seconds + 2))]
        send_orders(house, serve, names)
        port = int(serve.address("http").rpartition(":")[2])
        found = asyncio.run(measure(port, serve, names, seconds))
    found["ok"] = (
        found["failed"] == 0
        and found["p99_loaded_ms"] <= 2 * found["p99_alone_ms"]
        and found["rss_after_mb"] - found["rss_before_mb"] <= MEMORY_MB
    )
    print(json.dumps(found))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
