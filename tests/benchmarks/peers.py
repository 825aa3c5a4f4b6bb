"""daifu beside what a team would pick instead: `python -m tests.benchmarks.peers --peers DIR [--orders 2000] [--runs 3]`.

`DIR` (or DAIFU_PEERS) holds the peers' own harness with its `run.py`; they are no part of the product. All run interleaved, on
the same servers, each in a sitting of its own; the table shows medians. The peers need a Python with their requirements:
`--python` (or DAIFU_PEERS_PYTHON), this one unless given. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.benchmarks.servers import Servers, note, servers

SHIM: Final = Path(__file__).with_name("peer_shim.py")
US: Final = "daifu"
WITHIN_S: Final = 600.0


def main() -> int:
    asked = _arguments()
    contenders = [US, *asked.only.split(",")]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    with servers() as there:
        for turn in range(asked.runs):
            for name in contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]:
                row = _daifu(there, asked) if name == US else _peer(there, name, asked)
                note(json.dumps(row))
                rows[name].append(row)
    print(table(rows, asked.reference))
    return 0


def table(rows: dict[str, list[dict[str, Any]]], reference: str) -> str:
    """Markdown: medians of orders/s and CPU of workers and publisher, with the ratio to `reference`."""
    rates = {name: median(row["rate"] for row in some) for name, some in rows.items() if some}
    spent = {name: median(row["cpu_ms"] for row in some) for name, some in rows.items() if some}
    lines = [
        f"| | orders/s (runs) | × {reference} | CPU ms per order | × {reference} | RabbitMQ / PostgreSQL ms | RSS MB | all ended |",
        "|---|---|---:|---:|---:|---|---:|---|",
    ]
    for name, some in rows.items():
        runs = " ".join(f"{row['rate']:.0f}" for row in some)
        servers_ms = " / ".join(f"{median(row[server] for row in some):.2f}" for server in ("mq_ms", "pg_ms"))
        lines.append(
            f"| {name} | {rates[name]:.0f} ({runs}) | {rates[name] / rates[reference]:.2f} | {spent[name]:.2f} | "
            f"{spent[name] / spent[reference]:.2f} | {servers_ms} | {median(row['rss_mb'] for row in some):.0f} | "
            f"{'yes' if all(row['ok'] for row in some) else 'NO'} |"
        )
    return "\n".join(lines)


def _daifu(there: Servers, asked: argparse.Namespace) -> dict[str, Any]:
    row = there.bench(asked.scenario, asked.orders)
    spent = row["cpu_s"]
    return {
        "who": US,
        "rate": row["orders_per_s"],
        "cpu_ms": row["cpu_s_per_1000"],
        "mq_ms": spent.get("rabbitmq", 0.0) / asked.orders * 1000,
        "pg_ms": spent.get("postgresql", 0.0) / asked.orders * 1000,
        "rss_mb": row["rss_mb"],
        "ok": row["audit_ok"] and row["ended_once"],
    }


def _peer(there: Servers, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    command = [
        asked.python,
        "-P",
        str(SHIM),
        "--peer",
        name,
        "--scenario",
        asked.scenario,
        "--orders",
        str(asked.orders),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(asked.peers),
        "PEERS_VENV": str(Path(asked.python).parent),
        "PEER_SHIM": json.dumps(_addresses(there)),
    }
    done = subprocess.run(
        [*command, "--queue", asked.queue, "--timeout", "300"],
        env=environment,
        cwd=asked.peers,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=WITHIN_S,
    )
    row = json.loads(done.stdout.splitlines()[-1])
    per_ms = 1000 / asked.orders
    return {
        "who": name,
        "rate": row["orders_s"],
        "cpu_ms": (row["cpu_workers"] + row.get("cpu_publisher", 0.0)) * per_ms,
        "mq_ms": row["cpu_rabbit"] * per_ms,
        "pg_ms": row["cpu_pg"] * per_ms,
        "rss_mb": row["rss_mb"],
        "ok": row["verified"],
    }


def _addresses(there: Servers) -> dict[str, Any]:
    """What the peers' harness otherwise takes for granted: default ports, the user guest, a socket in /var/run."""
    management = there.node.management
    return {
        "api": f"http://{management._host}:{management._port}/api",
        "authorization": management._headers["Authorization"],
        "amqp": there.node.url("peers"),
        "dsn": there.postgres.url("peers").replace("+psycopg", ""),
        "admin": there.database_url.replace("+psycopg", ""),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--peers", type=Path, default=os.environ.get("DAIFU_PEERS"), help="the peers' folder")
    parser.add_argument("--python", default=os.environ.get("DAIFU_PEERS_PYTHON", sys.executable))
    parser.add_argument("--only", default="raw-batched,celery,dramatiq,faststream,taskiq", help="peers, by comma")
    parser.add_argument("--reference", default="raw-batched")
    parser.add_argument("--scenario", choices=("A", "B"), default="A")
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--queue", choices=("classic", "quorum"), default="classic")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    if asked.peers is None:
        parser.error("--peers or DAIFU_PEERS is needed: the folder with the peers' run.py")
    asked.peers = Path(asked.peers).resolve()
    return asked


if __name__ == "__main__":
    sys.exit(main())
