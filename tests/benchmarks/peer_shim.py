"""Runs the peers' `run.py` on servers that are not at default addresses. Started by `tests.benchmarks.peers`, in the peers' Python.

Their harness names RabbitMQ's ports, the user guest and PostgreSQL's socket in its text; all of it is replaced here, nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

TOLD: dict[str, str] = json.loads(os.environ["PEER_SHIM"])
os.environ["PEERS_AMQP"] = TOLD["amqp"]
os.environ["PEERS_DSN"] = TOLD["dsn"]

import amqp  # noqa: E402 - after the addresses are told: their modules read them when loaded
import psycopg  # noqa: E402 - as above
import run  # type: ignore[import-not-found]  # noqa: E402 - as above; it lies in the peers' folder


def api(method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": TOLD["authorization"]}
    asked = urllib.request.Request(TOLD["api"] + path, method=method, data=data, headers=headers)  # noqa: S310 - http
    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - as above
        text = answer.read()
    return json.loads(text) if text else None


def ensure_db(name: str = "peers", recreate: bool = False) -> None:  # noqa: FBT001 - their signature
    with psycopg.connect(TOLD["admin"], autocommit=True) as connection:
        if recreate:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(f'CREATE DATABASE "{name}"')


class Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    def __init__(self, *_address: Any, virtual_host: str = "/", **more: Any) -> None:
        parts = urlsplit(TOLD["amqp"])
        more |= {"userid": unquote(parts.username or ""), "password": unquote(parts.password or "")}
        super().__init__(f"{parts.hostname}:{parts.port}", virtual_host=virtual_host, **more)


run.api, run.ensure_db, amqp.Connection = api, ensure_db, Connection
try:
    sys.exit(run.main())
finally:
    for process in list(run.LIVE):
        run.stop([process], 2)
