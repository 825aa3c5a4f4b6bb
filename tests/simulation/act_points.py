"""Every act of an agent or an operator at every point that a process passes, from the purchase's acceptance on.

Recorded and forked as in `crash_points.py`; here nobody dies, but in each child somebody acts right there: CONFIRM, NO_TICKET
or a refund request arrives while the process waits at its point, or an operator pauses paying for a while. The process goes on
with what it has in hand. No two points are one here (a process that has read and one that will read are not the same), but for
those at which a process only waits.

    python -m tests.simulation.act_points [BEHAVIOUR…]
    python -m tests.simulation.act_points ok --at "NO_TICKET at payment IntentWriter.tx:before #1"
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Any

from sqlalchemy import select

from pipeline.cli.simulation.incarnation import Act, Incarnation
from pipeline.cli.simulation.trips import SAMPLE
from pipeline.reasons import PAY_STATUS
from pipeline.states import Closure, PurchaseState, outcome_of
from pipeline.store import orders
from pipeline.store.tables import attempts, purchases
from schemas.am_messages import AmEvent
from tests.simulation import asks, books
from tests.simulation.crash_points import WHOLE, Recorder, record, silence_logs, warm_up
from tests.simulation.crash_points_day import CrashHouse, check_audits, check_leftovers
from tests.simulation.crash_points_tally import Path, Tally, report

BEHAVIOURS = ("ok", "late_pay", "timeout_paid", "timeout_unpaid", "refuse", "mute_after_pay", "wrong_password")
ARRIVES_S = 0.02  # how long the process waits at its point while a message arrives and intake does its part
PAUSED_S = 25.0  # there is still time to pay after it
BY_THE_AGENT = (Closure.TICKETED_OFFLINE, Closure.NO_TICKET)  # nothing is told about what it did itself
_one = select(purchases.c.id).limit(1)
_intents = select(attempts.c.submitted_at).where(attempts.c.submitted_at.is_not(None))


def _arrives(ask: Callable[[CrashHouse], AmEvent]) -> Callable[[ActRecorder], float | None]:
    def act(recorder: ActRecorder) -> float:
        house = recorder.house
        Context().run(asyncio.get_running_loop().create_task, house.send(ask(house)))
        return ARRIVES_S

    return act


def _pause(recorder: ActRecorder) -> None:
    house = recorder.house
    asks.pause(house, "stage", "payment")
    recorder.paused_at = house.clock.now()
    asyncio.get_running_loop().call_later(PAUSED_S, asks.resume, house, "stage", "payment", context=Context())


ACTS: dict[str, Callable[[ActRecorder], float | None]] = {
    "CONFIRM": _arrives(asks.confirm),
    "NO_TICKET": _arrives(asks.no_ticket),
    "refund": _arrives(asks.refund_requested),
    "pause": _pause,
}


class ActRecorder(Recorder):
    """The plan of a house: at each point a child for each act."""

    def __init__(self, house: CrashHouse, tally: Tally, script: Path) -> None:
        super().__init__(house, tally, 0 if script else 1, script, WHOLE)
        self._acted = 0
        self._points = 0
        self.paused_at: datetime | None = None

    def standing(self, life: Incarnation, *, idle: bool) -> Any:
        self._points += 1
        return super().standing(life, idle=True) if idle else ("busy", self._points)

    def strike(self, step: str, *, idle: bool) -> Act:
        if not self.house.read(lambda tx: tx.rows(_one)):
            return None
        for name, act in ACTS.items():
            if self.in_a_child(f"{name} at {step}"):
                self._acted += 1
                return act(self)
        return None

    def as_written(self, step: str, life: Incarnation, point: str) -> Act:
        name, _, at = self.script[0].partition(" at ")
        if step != at:
            return None
        self.script.pop(0)
        self._acted += 1
        return ACTS[name](self)

    @property
    def struck(self) -> int:
        return self._acted

    def check(self, house: CrashHouse, _behaviour: str, hold: str) -> tuple[str, str | None]:
        """What no act may change, whoever won. Returns (state, reason). Raises AssertionError."""
        pays, debits = (len(books.journal(house, kind, held_order_no=hold)) for kind in ("pay", "debit"))
        row = books.purchase(house, SAMPLE)
        assert debits <= pays <= 1, f"{pays} pays, {debits} debits of one hold"
        assert not (debits and row.state == PurchaseState.HELD_UNPAID), (
            "money was taken, and the order counts as unpaid"
        )
        assert debits or row.state == PurchaseState.HELD_UNPAID or row.state == PurchaseState.PAID_ABNORMAL, row.state
        known = house.read(lambda tx: orders.load(tx, [SAMPLE]))[SAMPLE]
        # A form that the cashier refused was sent, too, and leaves an order that may be closed.
        closed = known.closure == Closure.NO_TICKET
        assert not closed or row.state == PurchaseState.HELD_UNPAID, f"closed without a ticket, and {row.state}"
        assert row.password_sealed is None
        outcome = outcome_of(PurchaseState(row.state))
        told = books.told(house, SAMPLE)
        silent = known.closure in BY_THE_AGENT and row.state == PurchaseState.HELD_UNPAID
        assert silent or (outcome is not None and told[-1:] == [PAY_STATUS[outcome]]), f"{row.state}, told {told}"
        if self.paused_at is not None:
            intents = [at for (at,) in house.read(lambda tx: tx.rows(_intents))]
            since = [(at - self.paused_at).total_seconds() for at in intents]
            assert not any(0 < seconds < PAUSED_S for seconds in since), f"paid during a pause: {since}"
        books.check_books(house)
        house.read(lambda tx: check_leftovers(tx, [life.worker for life in house.alive]))
        check_audits(house)
        return row.state, row.reason


def explore(behaviour: str, script: Path = ()) -> Tally:
    """Record one order of this behaviour, and act at every point; with a script only there, in this process."""
    recorders: list[ActRecorder] = []

    def recorder_of(house: CrashHouse) -> Recorder:
        recorders.append(ActRecorder(house, Tally(behaviour), script))
        return recorders[0]

    return record(recorder_of, behaviour, 1, lambda house, name, hold: recorders[0].check(house, name, hold))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.act_points")
    parser.add_argument("behaviours", nargs="*", help=f"{' '.join(BEHAVIOURS)} unless some are named")
    parser.add_argument("--at", help='act here only: "NO_TICKET at payment submit:before #1"')
    given = parser.parse_args(arguments)
    silence_logs()
    wanted = given.behaviours or list(BEHAVIOURS)
    if given.at:
        return report((explore(behaviour, (given.at,)) for behaviour in wanted), len(wanted), 1, "acts")
    warm_up()
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        return report(pool.imap_unordered(explore, wanted), len(wanted), 1, "acts")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
