"""A run: the stack starts, orders flow, the fire burns part by part, then all is calm and the verdict is spoken."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.chaos import parts
from tests.chaos.canary import pay_again
from tests.chaos.faults import Fire
from tests.chaos.orders import Letters, orders_of
from tests.chaos.parts import CLUSTER, SHARES, ClusterPart
from tests.chaos.plan import Plan
from tests.chaos.remains import Remains
from tests.chaos.stack import ARGUMENTS, Stack
from tests.chaos.upstream import Mailbox, Upstream
from tests.chaos.verdict import AS_EXPECTED, Found, Verdict, judge
from tests.chaos.watch import Watch
from tests.integration.pipeline_process import until
from tests.services.broker import RabbitmqNode
from tests.services.postgres import PostgresServer

LOAD_SHARE: Final = 0.97  # of the fire's time: the last orders come while it still burns


class Run:
    """One run on a given broker and database. Use `play`, then `close`."""

    def __init__(self, plan: Plan, folder: Path, node: RabbitmqNode, postgres: PostgresServer) -> None:
        self.plan, self.folder = plan, folder
        self.began = time.monotonic()
        self.began_at = datetime.now(UTC)
        self._diary = (folder / "diary.txt").open("a", encoding="utf-8")
        self.orders = orders_of(plan.seed, plan.orders)
        self.vhost, self.database = node.create_vhost(), postgres.create_database()
        self.stack = Stack(folder, node, postgres, self.vhost, self.database, plan.settings, self.say)
        self.cluster = ClusterPart()
        self._threads: list[Mailbox | Upstream | Watch] = []
        self._audits: list[str] = []
        self._audit_at = 0.0

    def say(self, text: str) -> None:
        """A line in the diary and on stderr."""
        line = f"{time.monotonic() - self.began:8.1f}  {text}"
        self._diary.write(line + "\n")
        self._diary.flush()
        sys.stderr.write(line + "\n")

    def play(self) -> Verdict:
        """Everything, to the verdict."""
        plan, stack = self.plan, self.stack
        stack.start()
        self.say(f"seed {plan.seed}: {plan.orders} orders, {plan.minutes:g} minutes, {' '.join(plan.parts)}")
        mailbox, upstream = self._am()
        watch = Watch(stack)
        self._threads = [upstream, watch, mailbox]
        for thread in self._threads:
            thread.start()
        fire = Fire(stack, plan.seed, plan.lease_s, self.say)
        if plan.canary:
            fire.later(plan.minutes * 12, lambda: self.say(f"canary: {pay_again(stack)}"))
        self._burn(fire, upstream)
        fire.calm()
        self.say("calm")
        with contextlib.suppress(AssertionError):  # who got no answer is lost: the verdict says so
            until("AM has an answer to everything it sent", lambda: _answered(upstream), plan.hold_s)
        remains = Remains(stack, self.say)
        remains.wait_ended(plan.patience_s)
        remains.complete_events(mailbox, self.began_at)
        queues = remains.queues()
        watch.stop()
        troubles = [*stack.troubles, *watch.dead_looking, *watch.growth(), *self._audits]
        found = Found(
            orders=self.orders,
            journal=remains.journal(),
            rows=remains.rows(),
            events=mailbox.events,
            audit=remains.audit(),
            queues=queues,
            left_rows=remains.left_rows(),
            kills=stack.tally["kills"],
            at_least=plan.at_least,
            late=plan.late,
            troubles=troubles,
        )
        verdict = judge(found)
        self._report(verdict, upstream, mailbox, watch)
        return verdict

    def close(self) -> None:
        """End everything that this run started."""
        for thread in self._threads:
            if thread.is_alive():
                thread.stop()
        self.stack.close()
        self.cluster.close()
        self._diary.close()
        with contextlib.suppress(OSError):
            self.stack.node.start()
        self.stack.node.delete_vhost(self.vhost)
        self.stack.postgres.start()
        self.stack.postgres.drop_database(self.database)

    # -- the load and the fire -------------------------------------------------------------------------------------

    def _am(self) -> tuple[Mailbox, Upstream]:
        plan, stack = self.plan, self.stack
        mailbox = Mailbox(stack.broker_url)
        whole_s = plan.rounds * plan.minutes * 60 + (plan.rounds - 1) * plan.quiet_s
        upstream = Upstream(
            stack.broker_url,
            stack.sandbox_url,
            Letters(stack.vault_key),
            mailbox,
            self.orders,
            over_s=whole_s * LOAD_SHARE,
            deadline_s=plan.hold_s,
            withheld=frozenset({self.orders[len(self.orders) // 2].order_no}) if plan.canary else frozenset(),
        )
        return mailbox, upstream

    def _burn(self, fire: Fire, upstream: Upstream) -> None:
        plan = self.plan
        whole = sum(SHARES[part] for part in plan.parts)
        for number in range(plan.rounds):
            last_round = number == plan.rounds - 1
            for part in plan.parts:
                if part == CLUSTER and not last_round:
                    continue  # the broker stays there
                self._play_part(fire, upstream, part, plan.minutes * 60 * SHARES[part] / whole)
            if not last_round:
                self._quiet(fire, plan.quiet_s)

    def _play_part(self, fire: Fire, upstream: Upstream, part: str, seconds: float) -> None:
        self.say(f"--- {part}, {seconds:.0f} s")
        act = self.cluster if part == CLUSTER else parts.PARTS[part]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            act(fire)
            self._audit_on_time()
            upstream.raise_failure()
        fire.calm()
        self.say(f"--- {part} is over, {upstream.sent} orders sent")

    def _quiet(self, fire: Fire, seconds: float) -> None:
        """A soak's calm hours: only the weather changes, and memory is measured."""
        self.say(f"--- quiet, {seconds:.0f} s")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            fire.wait(5.0)
            self._audit_on_time()
        fire.calm()

    def _audit_on_time(self) -> None:
        """During a soak: the invariants hold at any moment. The database may be away for one."""
        if not self.plan.audit_every_s or time.monotonic() < self._audit_at:
            return
        self._audit_at = time.monotonic() + self.plan.audit_every_s
        done = self.stack.command("audit", "--json", "--journal", str(self.stack.house.sandbox_journal))
        self.stack.tally["audits"] += 1
        if done is not None and done.code == 1:
            self._audits.append(f"an audit under fire: {done.stdout[:1500]}")

    # -- the end -----------------------------------------------------------------------------------------------------

    def _report(self, verdict: Verdict, upstream: Upstream, mailbox: Mailbox, watch: Watch) -> None:
        tally = self.stack.tally
        tally["sent again"], tally["AM reconnected"] = upstream.sent_again, mailbox.reconnected
        self.say("what happened: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.items())))
        self.say("processes:\n" + watch.table())
        self.say("logs: " + ", ".join(f"{name} {mb:.1f} MB" for name, mb in self._log_sizes().items()))
        self.say(verdict.report())

    def _log_sizes(self) -> Mapping[str, float]:
        sizes = dict.fromkeys(ARGUMENTS, 0.0)
        for path in self.folder.glob("*.err"):
            name = path.stem.partition("-")[2]
            if name in sizes:
                sizes[name] += path.stat().st_size / 2**20
        return sizes


def _answered(upstream: Upstream) -> bool:
    upstream.raise_failure()
    return upstream.done


def line_of(run: Run, verdict: Verdict) -> str:
    """The last line, with what else counts."""
    tally = run.stack.tally
    names: Sequence[str] = (
        "freezes",
        "PostgreSQL restarts",
        "RabbitMQ restarts",
        "RabbitMQ wipes",
        "leader nodes killed",
    )
    more = {name.replace(" ", "_").lower(): tally[name] for name in names if tally[name]}
    as_expected = verdict.endings.get(AS_EXPECTED, 0)
    return verdict.line(as_expected=as_expected, findings=len(verdict.findings), seed=run.plan.seed, **more)
