"""What is said about a seed: whether everything that was promised held, by the journal of the sandbox first, and a digest of it all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.cli.simulation.trial import AGENTS, Trial
from pipeline.ledger import Account
from pipeline.reasons import PAY_STATUS
from pipeline.states import Closure, PurchaseState, outcome_of
from pipeline.store import audit_journal, ledger, picture
from pipeline.store.engine import Row

NO_PURCHASE = "no_purchase"
# What the purchase must be once all is over, by what became of the money.
STATES_OF_FATE = {
    "nothing": (None, PurchaseState.HELD_UNPAID, PurchaseState.NEVER_DEBITED),
    "ticketed": (PurchaseState.SETTLED,),
    "lost": (PurchaseState.REFUNDED,),
}
BY_THE_AGENT = (Closure.TICKETED_OFFLINE.value, Closure.NO_TICKET.value)  # nothing is told about what it did itself


@dataclass(frozen=True, slots=True)
class Verdict:
    """`happened`: how often which fault struck and how which act ended."""

    seed: int
    orders: int
    events: int
    outcomes: dict[str, int]
    digest: str
    broken: tuple[str, ...]
    happened: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.broken

    def shown(self) -> dict[str, Any]:
        """INTERFACES section 6."""
        return {
            "seed": self.seed,
            "orders": self.orders,
            "events": self.events,
            "outcomes": self.outcomes,
            "digest": self.digest,
            "ok": self.ok,
            "happened": self.happened,
        }


def judge(trial: Trial, left: list[str]) -> Verdict:
    """After the phase without faults. `left`: what did not end."""
    oracle = trial.oracle
    oracle.look()
    rows = trial.read(picture.latest_purchases)
    trial.audit_now()
    broken = [*oracle.broken, *left]
    for row in rows:
        broken += [f"{row.order_no}: {words}" for words in _order_broken(trial, row)]
    broken += _orders_lost(trial, rows)
    broken += _money_broken(trial)
    with_journal = trial.read(lambda tx: audit_journal.audit_journal(tx, oracle.lines))
    broken += [f"audit with the journal: {one}" for one in with_journal]
    outcomes = Counter(_outcome(row) for row in rows)
    happened = trial.points.counts + trial.sky.counts + trial.people.done
    happened["lost_answer"] += trial.road.lost
    happened["form_in_flight"] += trial.road.in_flight
    happened["clock_set_back"] += trial.road.set_back
    return Verdict(
        trial.swarm.seed,
        len(rows),
        trial.events,
        dict(sorted(outcomes.items())),
        _digest(trial),
        tuple(broken),
        dict(sorted(happened.items())),
    )


def _outcome(row: Row[Any]) -> str:
    outcome = None if row.state is None else outcome_of(PurchaseState(row.state))
    return NO_PURCHASE if outcome is None else outcome.value


def _order_broken(trial: Trial, row: Row[Any]) -> list[str]:
    fate = trial.oracle.fate(row.order_no)
    broken = []
    if row.state not in STATES_OF_FATE[fate]:
        broken.append(f"its money: {fate}, its purchase: {row.state} {row.reason}")
    if row.state is None:
        return broken
    told = trial.oracle.last_told(row.order_no)
    outcome = outcome_of(PurchaseState(row.state))
    # never_debited counts as held_unpaid from then on, but what the agent was told stands (DESIGN section 5).
    expected = {
        PurchaseState.NEVER_DEBITED: "3",
        PurchaseState.REFUNDED: "3",
    }.get(PurchaseState(row.state), None if outcome is None else PAY_STATUS[outcome])
    if told != expected and not (row.closure in BY_THE_AGENT and row.state == PurchaseState.HELD_UNPAID):
        broken.append(f"{row.state}, and the agent was told {told} last")
    if row.password_sealed is not None:
        broken.append("its password is still there")
    if row.state == PurchaseState.SETTLED and row.closure is None and row.frozen_fen:
        broken.append(f"settled, and {row.frozen_fen} fen are still frozen")
    return broken


def _orders_lost(trial: Trial, rows: list[Row[Any]]) -> list[str]:
    """Everything that the broker confirmed to AM was answered, as far as AM could know that it was not."""
    known = {row.order_no for row in rows}
    broken = [f"{number}: AM sent it, and nobody knows it" for number in trial.crowd.by_no if number not in known]
    answers = trial.read(picture.answers)
    lost = [event for event in trial.publisher.unanswered() if event.id not in answers]
    broken += [f"{event.data.order_no}: {event.type} {event.id} was never answered" for event in lost]
    broken += [f"message {event_id} still waits" for event_id, answer in answers.items() if answer == "waiting"]
    return broken


def _money_broken(trial: Trial) -> list[str]:
    """By the bank: what was put in and not taken by the cashier is there, and nothing is in flight."""
    broken = []
    funds = Counter[str]()
    for agent in AGENTS:
        balances = trial.read(partial(ledger.balances, agent=agent))
        funds["there"] += balances[Account.PROCUREMENT]
        funds["in_flight"] += balances[Account.IN_FLIGHT]
    expected = sum(trial.topped_up_fen.values()) - trial.oracle.all_debited_fen()
    if funds["there"] != expected:
        broken.append(f"the funds hold {funds['there']} fen, by the journal {expected}")
    if funds["in_flight"]:
        broken.append(f"{funds['in_flight']} fen are still in flight")
    return broken


def _digest(trial: Trial) -> str:
    """SHA-256 over the journal and every table that tells what happened."""
    seen = {"journal": trial.oracle.lines, **trial.read(picture.everything)}
    return hashlib.sha256(json.dumps(seen, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
