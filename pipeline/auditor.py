"""The relay's audit: every so often, by one relay at a time, a little in each of its rounds.

What it finds is an error in the log, a row for the console and, on every relay, the metric `daifu_audit_broken`.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from pipeline.stage import Executor
from pipeline.store import audit_runs
from pipeline.store.audit import Audit
from pipeline.store.audit_runs import LEASE_S, Run
from pipeline.store.clock import now
from pipeline.store.engine import Store, StoreUnavailable, Transaction

log = structlog.get_logger()

LOOK_S = 5.0  # how often it asks whether an audit is due
STEP_S = 0.1  # how long it holds up a round of the relay
MOST_LOGGED = 20  # orders


class Auditor:
    """Audits the live database each `every_s` seconds, together with all other relays."""

    def __init__(self, store: Store, executor: Executor, every_s: float) -> None:
        self._store, self._executor, self._every_s = store, executor, every_s
        self._look_at = 0.0  # by the monotonic clock
        self._live: Audit | None = None
        self._turn, self._keep_at = "", 0.0
        self._began: datetime | None = None

    async def audit(self) -> None:
        """Go on with the audit at hand for a moment, or begin one if it is due."""
        if self._live is None and self._store.clock.monotonic() < self._look_at:
            return
        try:
            await self._executor.run(self._go_on if self._live is not None else self._begin)
        except StoreUnavailable as error:
            # Given up, not the relay's trouble: a statement may have taken too long. The turn runs out by itself.
            log.warning("audit_broke_off", error=str(error))
            self._live, self._look_at = None, self._store.clock.monotonic() + LEASE_S

    def _begin(self) -> None:
        clock, every_s = self._store.clock, self._every_s
        self._look_at = clock.monotonic() + min(LOOK_S, every_s)
        if not self._store.read(lambda tx: audit_runs.is_due(tx, every_s)):
            return
        began, turn = self._store.write(lambda tx: (now(tx), audit_runs.take_turn(tx, every_s))).value
        if turn is None:
            return
        self._live, self._began, self._turn = Audit(self._store), began, turn
        self._keep_at = clock.monotonic() + LEASE_S / 3
        self._go_on()

    def _go_on(self) -> None:
        live, clock = self._live, self._store.clock
        if live is None:
            return
        until = clock.monotonic() + STEP_S
        while live.step():
            if clock.monotonic() < until:
                continue
            if clock.monotonic() >= self._keep_at:
                self._keep()
            return
        self._end(live)

    def _keep(self) -> None:
        turn = self._store.write(lambda tx: audit_runs.keep_turn(tx, self._turn)).value
        if turn is None:
            self._live = None  # this relay stood still for so long that another one began
        else:
            self._turn, self._keep_at = turn, self._store.clock.monotonic() + LEASE_S / 3

    def _end(self, live: Audit) -> None:
        self._live, began, report = None, self._began, live.report
        if began is None or report is None:
            return

        def end(tx: Transaction) -> Run | None:
            return audit_runs.end_turn(tx, self._turn, began, self._every_s, report)

        run = self._store.write(end).value
        if run is None:
            return
        log.info("audited", ok=run.ok, checked=run.checked, took_s=round(run.took_s, 3))
        for broken in run.broken:
            log.error(
                "audit_broken",
                invariant=broken["invariant"],
                orders=broken["orders"][:MOST_LOGGED],
                subjects=broken["subjects"][:MOST_LOGGED],
                amount_fen=broken["amount_fen"],
            )
