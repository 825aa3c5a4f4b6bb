"""What a run leaves behind, read when all is calm: rows, journal, audit, queues, AM's results."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import psycopg

from tests.chaos.stack import Stack
from tests.chaos.upstream import AM_QUEUE, Mailbox
from tests.integration.pipeline_process import until

POLL_S: Final = 4.0
QUEUES_S: Final = 60.0
EMPTY_AT_THE_END: Final = {
    "work": "SELECT count(*) FROM work",
    "suspects": "SELECT count(*) FROM suspects",
    "open attempts": "SELECT count(*) FROM attempts WHERE concluded_at IS NULL AND submitted_at IS NULL",
    "pauses": "SELECT count(*) FROM pauses",
}


class Remains:
    """Reads through the product's own commands, the journal's file, and the broker's management API."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self._stack, self._say = stack, say

    def wait_ended(self, patience_s: float) -> None:
        """Until every order has ended and its agent was told, or patience is over: the verdict names who is missing."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            rows = self.rows()
            open_ = [row for row in rows.values() if not (row["outcome"] and row["agent_told"]) or _unsettled(row)]
            self._say(f"{len(rows)} orders known, {len(open_)} still open")
            if not open_ and not any(self.left_rows().values()):
                return
            time.sleep(POLL_S)

    def complete_events(self, mailbox: Mailbox, since: datetime) -> None:
        """What AM lost with a wiped queue it asks for again."""
        if not self._stack.tally["RabbitMQ wipes"] and self._stack.cluster is None:
            until("AM has read its queue", lambda: not self._depth(AM_QUEUE), QUEUES_S)
            return
        done = self._stack.command("events", "resend", "--since", since.isoformat(), "--json")
        assert done is not None
        assert done.code == 0, done
        expected = json.loads(done.stdout)["results"]
        self._say(f"{expected} results are sent to AM again")
        with contextlib.suppress(AssertionError):  # the verdict says what is missing
            until("AM has all results", lambda: mailbox.known() >= expected, QUEUES_S + expected / 200)

    def _depth(self, queue: str) -> int:
        return int(self._stack.management.queues(self._stack.vhost)[queue].get("messages", 1))

    def queues(self) -> dict[str, int]:
        """What the queues hold, once the broker's counts, which lag, have had time to settle."""
        end = time.monotonic() + QUEUES_S
        while True:
            queues = self._stack.management.queues(self._stack.vhost)
            found = {name: int(one.get("messages", 0)) for name, one in queues.items() if name != AM_QUEUE}
            if not any(found.values()) or time.monotonic() > end:
                return found
            time.sleep(1.0)

    def rows(self) -> dict[str, dict[str, Any]]:
        done = self._stack.command("orders", "list", "--json", within_s=120)
        assert done is not None
        assert done.code == 0, done
        return {row["order_no"]: row for row in json.loads(done.stdout)}

    def audit(self) -> dict[str, Any]:
        done = self._stack.command("audit", "--json", "--journal", str(self._stack.house.sandbox_journal), within_s=120)
        assert done is not None
        audit: dict[str, Any] = json.loads(done.stdout) if done.code in (0, 1) else {"ok": False, "broken": str(done)}
        return audit

    def journal(self) -> list[dict[str, Any]]:
        """The sandbox's own file: lines with `kind` are the journal."""
        lines = self._stack.house.sandbox_journal.read_bytes().rpartition(b"\n")[0].splitlines()
        return [record for record in map(json.loads, lines) if "kind" in record]

    def left_rows(self) -> dict[str, int]:
        dsn = self._stack.direct["DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://")
        with contextlib.closing(psycopg.connect(dsn)) as connection:
            return {name: _count(connection, query) for name, query in EMPTY_AT_THE_END.items()}


def _unsettled(row: Mapping[str, Any]) -> bool:
    return bool(row["state"] == "purchased")


def _count(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
