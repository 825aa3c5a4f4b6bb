"""One pipeline of real processes in which one process after the other dies by SIGKILL at a point, is started again plainly, and
the order it was about is followed to its end.

Everything but the process under test stays up between the deaths. The sandbox's journal says what was really paid.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import amqp
import psycopg

from pipeline.broker.topology import dead_letter_queue_of, queue_of
from tests.chaos.kill_nursery import Nursery
from tests.chaos.kill_process import Plan
from tests.integration.pipeline_endings import ENDINGS, Ending, unpaid
from tests.integration.pipeline_house import STAGES, House
from tests.integration.pipeline_orders import AGENT, Am, Bought
from tests.integration.pipeline_process import until

TIMES: Final[Mapping[str, str]] = {
    "PAY_TIMEOUT_S": "1.5",
    "PAY_MARGIN_S": "1",
    "PAY_GRACE_S": "1",
    "LEASE_S": "4",
    "LIST_RETRY_S": "0.3",
    "IN_HAND_RETRY_S": "3",
    "RELAY_PATIENCE_S": "1",
    "VERIFY_WINDOW_S": "40",
    "CALLBACK_SCHEDULE_S": "1,2,4,8",
    "DRAIN_S": "6",
}
HOLD_S: Final = 30  # a lease runs out, a worker starts on a busy machine, and there is still time to pay
SHORT_HOLD_S: Final = 15  # of behaviours whose end waits for the hold's deadline
WAIT_FOR_THE_END: Final = ("reset_before_read",)
STILL_ALIVE: Final = "it did not die there"
ORDERS: Final = (
    3  # of one death: a pass that chance made in the recording (a wake-up sent twice) comes with the next order
)
ANSWER_MS: Final = 500  # the cashier's answer comes this late: time to die between the form and its answer
START_S: Final = 120.0
PROCESSES: Final = (*STAGES, "relay")
DONE: Final = frozenset({"settled", "held_unpaid", "paid_abnormal"})
STANDS: Final = "SELECT state, reason FROM purchases WHERE order_no = %s"
WAITS: Final = "SELECT count(*) FROM work WHERE order_no = %s"
INTENDED: Final = "SELECT count(*) FROM attempts WHERE order_no = %s AND submitted_at IS NOT NULL"
PROOF: Final = "SELECT proof FROM attempts WHERE order_no = %s ORDER BY n DESC LIMIT 1"
FORGET_THE_DEAD: Final = """DELETE FROM workers
WHERE closed_at IS NULL AND alive_until < extract(epoch FROM clock_timestamp()) * 1000000"""


@dataclass(frozen=True)
class Death:
    """Who dies where, while an order of this behaviour goes through. `at_start`: before the process is ready."""

    stage: str
    point: str
    nth: int
    behaviour: str
    at_start: bool = False

    def __str__(self) -> str:
        return f"{self.behaviour}: {self.stage} {self.point} #{self.nth}{' at its start' if self.at_start else ''}"


class Lane:
    """Use `start`, then `record` or `die`, then `close`."""

    def __init__(self, folder: Path, broker_url: str, database_url: str) -> None:
        self.house = House(folder, BROKER_URL=broker_url, DATABASE_URL=database_url, **TIMES)
        self.house.prepare()
        self.am = Am(self.house)
        self._nursery = Nursery(folder)
        self._pids: dict[str, int] = {}
        self._logs: dict[str, Path] = {}
        self._starts = self._orders = 0
        self._database = psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True)

    def start(self) -> None:
        self.house.outside()
        sandbox = self.house.start_sandbox()
        for name in PROCESSES:
            self._start(name)
        until("the sandbox is ready", sandbox.ready, START_S)
        for name in PROCESSES:
            self._wait_ready(name)
        self.am.add_agent()

    # -- processes ---------------------------------------------------------------------------------------------

    def _start(self, name: str, plan: Plan | None = None) -> None:
        self._starts += 1
        arguments = ["relay"] if name == "relay" else ["worker", name]
        self._logs[name] = self.house.folder / f"{self._starts:04d}-{name}.err"
        planned = None if plan is None else asdict(plan)
        self._pids[name] = self._nursery.start(arguments, self.house.env, self._logs[name], planned)

    def _wait_ready(self, name: str) -> None:
        log, pid = self._logs[name], self._pids[name]

        def ready() -> bool:
            assert self._nursery.ended(pid) is None, f"{name} ended: {log.read_text()[-2000:]}"
            return log.exists() and '"event": "ready"' in log.read_text(errors="replace")

        until(f"{name} is ready", ready, START_S)

    def _end(self, name: str) -> None:
        """SIGTERM, and wait: its incarnation is closed, nobody is suspected."""
        os.kill(self._pids[name], signal.SIGTERM)
        assert self._nursery.wait(self._pids[name], START_S) == 0, f"{name} did not end cleanly"

    def _plan(self, death: Death | None = None) -> Plan:
        folder = self.house.folder / f"plan-{self._starts:04d}"
        folder.mkdir()
        if death is None:
            return Plan("", 0, from_start=False, folder=str(folder))
        return Plan(death.point, death.nth, from_start=death.at_start, folder=str(folder))

    # -- orders ------------------------------------------------------------------------------------------------

    def _send(self, behaviour: str) -> tuple[Bought, int]:
        """An order of this behaviour; and the journal's length before it."""
        before = len(self.am.journal())
        self._orders += 1
        hold_s = SHORT_HOLD_S if behaviour in WAIT_FOR_THE_END else HOLD_S
        bought = self.am.buy(f"{AGENT}{self._orders:05d}", behaviour, delay_ms=ANSWER_MS, deadline_s=hold_s)
        self.am.send_orders([bought])
        return bought, before

    def _one(self, query: str, order_no: str) -> Any:
        return self._database.execute(query.encode(), [order_no]).fetchone()

    def ended(self, bought: Bought) -> bool:
        row = self._one(STANDS, bought.order_no)
        return row is not None and row[0] in DONE and self._one(WAITS, bought.order_no)[0] == 0

    def _check(self, bought: Bought, before: int, death: Death | None) -> None:
        """What the journal and the books say of this order. Raises AssertionError."""
        lines = [line for line in self.am.journal(before) if line["held_order_no"] == bought.hold_no]
        seen = Counter(line["kind"] for line in lines)
        assert seen["pay"] <= 1, f"{seen['pay']} pays of one hold"
        state, reason = self._one(STANDS, bought.order_no)
        assert not (seen["debit"] and state == "held_unpaid"), "money was taken, and the agent is told that it was not"
        ending = ENDINGS["ok" if death is None else death.behaviour]
        if death is not None and death.stage == "payment":
            ending = self._left_to_questions(bought, ending, seen["pay"])
        found = (state, reason, seen["pay"], seen["debit"])
        assert found == (ending.state, ending.reason, ending.pays, ending.debits), f"{found}, not {ending}"
        told = self.am.told(bought)
        assert told[-1:] == [ending.pay_status], f"the agent was told {told}"

    def _left_to_questions(self, bought: Bought, ending: Ending, pays: int) -> Ending:
        """What died with the sender: before its first byte nothing is paid, and a refusal that nobody read is as good as
        none. Then only questions are left, and they find that no money moved."""
        intended = bool(self._one(INTENDED, bought.order_no)[0])
        unread = ending.reason == "pay_refused" and self._one(PROOF, bought.order_no)[0] == "no_payment"
        return unpaid("unpaid_after_deadline", pays) if unread or (intended and ending.pays and not pays) else ending

    # -- recording and dying -----------------------------------------------------------------------------------

    def record(self, behaviour: str) -> dict[str, Counter[str]]:
        """The points that each process passes while one order of this behaviour goes through it, and how often."""
        plans = {}
        for name in PROCESSES:
            self._end(name)
            plans[name] = self._plan()
            self._start(name, plans[name])
        for name in PROCESSES:
            self._wait_ready(name)
        for plan in plans.values():
            plan.file("armed").touch()
        bought, before = self._send(behaviour)
        until(f"{behaviour} has ended", lambda: self.ended(bought), 90)
        time.sleep(1.0)  # results and dead letters are still published
        self._check(bought, before, Death("", "", 0, behaviour))
        found = {}
        for name, plan in plans.items():
            found[name] = Counter(plan.file("passed").read_text(encoding="utf-8").split())
            self._end(name)
            self._start(name)
        for name in PROCESSES:
            self._wait_ready(name)
        return found

    def record_start(self) -> dict[str, Counter[str]]:
        """The points that each process passes before it is ready."""
        found = {}
        for name in PROCESSES:
            self._end(name)
            plan = self._plan()
            self._start(name, Plan("", 0, from_start=True, folder=plan.folder))
            self._wait_ready(name)
            found[name] = Counter(plan.file("passed").read_text(encoding="utf-8").split())
            self._end(name)
            self._start(name)
            self._wait_ready(name)
        return found

    def die(self, death: Death) -> str:
        """One death and what came of it: "" when all is as it must be, otherwise the failure in words."""
        self._database.execute(FORGET_THE_DEAD.encode())
        plan = self._plan(death)
        self._end(death.stage)
        self._start(death.stage, plan)
        pid = self._pids[death.stage]
        try:
            if not death.at_start:
                self._wait_ready(death.stage)
            plan.file("armed").touch()
            status, sent = self._die_at_work(pid, death)
            if status is None:
                self._end(death.stage)
            self._start(death.stage)
            self._wait_ready(death.stage)
            assert status == -signal.SIGKILL, f"{STILL_ALIVE}: {'alive' if status is None else status}"
            assert plan.file("died").exists()
            for bought, before in sent:
                until("the order has ended", partial(self.ended, bought), 120)
                self._check(bought, before, death)
        except AssertionError as error:
            return str(error)[:1500] or "an assertion without words"
        return ""

    def _die_at_work(self, pid: int, death: Death) -> tuple[int | None, list[tuple[Bought, int]]]:
        """Send orders until the process is dead: its status, None if it outlives them all; and the orders."""
        sent: list[tuple[Bought, int]] = []
        status = None
        while status is None and len(sent) < ORDERS:
            sent.append(self._send(death.behaviour))
            status = self._await_death(pid, sent[-1][0])
        return status, sent

    def _await_death(self, pid: int, bought: Bought) -> int | None:
        """Its status; None when it has outlived its order."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            status = self._nursery.wait(pid, 0.2)
            if status is not None:
                return status
            if self.ended(bought):
                return self._nursery.wait(pid, 6)  # the relay and heartbeats come round again
        return None

    def audit(self) -> list[str]:
        """What is wrong at the end: `daifu audit --journal`, and queues that are not empty."""
        report = self.house.json("audit", "--journal", str(self.house.sandbox_journal))
        found = [] if report["ok"] else [json.dumps(report["broken"], ensure_ascii=False)]
        try:
            until("all queues but AM's are empty", lambda: not self._left_in_queues(), 90)
        except AssertionError:
            found.append(f"left in queues: {self._left_in_queues()}")
        return found

    def _left_in_queues(self) -> dict[str, int]:
        names = [name(stage) for stage in STAGES for name in (queue_of, dead_letter_queue_of)]
        address = urlsplit(self.house.settings.broker_url)
        host, vhost = address.netloc.rpartition("@")[2], self.house.vhost
        with amqp.Connection(
            host, userid=address.username, password=address.password, virtual_host=vhost
        ) as connection:
            channel = connection.channel()
            counts = {name: channel.queue_declare(name, passive=True).message_count for name in names}
        return {name: count for name, count in counts.items() if count}

    def close(self) -> None:
        for pid in self._pids.values():
            if self._nursery.ended(pid) is None:
                os.kill(pid, signal.SIGKILL)
        self._nursery.close()
        self._database.close()
        self.house.close()
