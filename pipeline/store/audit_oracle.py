"""What must agree between a sandbox's journal and the database: the invariants, on facts that are already read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.callback_form import TEST_ORDER_NO, TEST_PAY_STATUS
from pipeline.reasons import PAY_STATUS
from pipeline.states import LIVE, PurchaseState, outcome_of
from pipeline.store.audit_checks import Hit, Severity, Words, words_of
from pipeline.store.audit_holds import PROVEN_UNPAID
from pipeline.store.audit_payments import CLOCKS_S
from pipeline.store.engine import Row

Line = dict[str, Any]
SANDBOX_AGENT = "/sandbox/agents/{}/callback"
_MOVED_NOTHING = ("refused", "no_payment")


class Journal:
    """Journal lines by kind and hold; callbacks by the webhook's id, in the order they were received."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.pays: dict[str, list[Line]] = defaultdict(list)
        self.debits: dict[str, list[Line]] = defaultdict(list)
        self.issues: dict[str, list[Line]] = defaultdict(list)
        self.callbacks: dict[str, list[Line]] = defaultdict(list)  # by webhook id
        self.told: dict[str, list[Line]] = defaultdict(list)  # by order, those that the agent took
        by_hold = {"pay": self.pays, "debit": self.debits, "issue": self.issues}
        for line in lines:
            if line["kind"] in by_hold:
                by_hold[line["kind"]][str(line["held_order_no"])].append(line)
            elif line["kind"] == "callback":
                self.callbacks[str(line["webhook_id"])].append(line)
                if line["outcome"] == "ok":
                    self.told[str(line["order_no"])].append(line)


@dataclass(frozen=True, slots=True)
class Facts:
    """The database's side. `attempts`: the submitted ones by hold number, and behind them, without a time, what a person found
    paid. `callbacks`: by order number, oldest first."""

    attempts: dict[str, list[Row[Any]]]
    callbacks: dict[str, list[Row[Any]]]


@dataclass(frozen=True, slots=True)
class Sides:
    """`before` was read before the facts, `after` after them."""

    before: Journal
    facts: Facts
    after: Journal


def _fen(lines: Sequence[Line]) -> int:
    return sum(int(line.get("amount_fen") or 0) for line in lines)


def _order_of(rows: Sequence[Row[Any]]) -> str | None:
    return rows[0].order_no if rows else None


def journal_one_pay_per_hold(sides: Sides) -> list[Hit]:
    """A hold is paid again only after every earlier pay of it was proven to have moved nothing.

    Broken: 12306 was asked twice to take the money of one held order.
    Do: `daifu pause stage payment`; this is the promise itself.
    """
    found = []
    for hold, lines in sides.before.pays.items():
        rows = sides.facts.attempts.get(hold, [])
        over = len(lines) - sum(row.proof in _MOVED_NOTHING for row in rows)
        if over > 1:
            found.append(Hit(hold, _order_of(rows), _fen(lines[1:])))
    return found


def journal_one_debit_per_hold(sides: Sides) -> list[Hit]:
    """Money is taken once for a hold.

    Broken: a purchase was paid twice.
    Do: `daifu pause stage payment`; get the second debit back from 12306.
    """
    return [
        Hit(hold, _order_of(sides.facts.attempts.get(hold, [])), _fen(lines[1:]))
        for hold, lines in sides.before.debits.items()
        if len(lines) > 1
    ]


def journal_one_debit_per_order(sides: Sides) -> list[Hit]:
    """Money is taken once for an order, over all its generations and holds.

    Broken: an order was paid twice, on two holds.
    Do: `daifu pause stage payment`; get the second debit back from 12306.
    """
    holds: dict[str, list[str]] = defaultdict(list)
    for hold, rows in sides.facts.attempts.items():
        if hold in sides.before.debits:
            for order_no in {row.order_no for row in rows if row.proof not in PROVEN_UNPAID}:
                holds[order_no].append(hold)
    return [
        Hit(order_no, order_no, sum(_fen(sides.before.debits[hold]) for hold in found[1:]))
        for order_no, found in holds.items()
        if len(found) > 1
    ]


def journal_every_pay_has_its_intent(sides: Sides) -> list[Hit]:
    """Every pay that was received was submitted by an attempt of ours whose intent was committed before, and none by one that
    counts as not sent.

    Broken: something was sent to the cashier that the database does not know of: nothing keeps it from being sent again.
    Do: `daifu pause stage payment`; find who sent it.
    """
    found = []
    for hold, lines in sides.before.pays.items():
        rows = [row for row in sides.facts.attempts.get(hold, []) if row.proof != "not_sent"]
        early = any(_earlier(line, row) for line, row in zip(lines, rows, strict=False))
        if early or len(lines) > len(rows):
            found.append(Hit(hold, _order_of(rows), _fen(lines)))
    return found


def _earlier(line: Line, row: Row[Any]) -> bool:
    """Whether the pay was received before its intent, by more than clocks may differ."""
    if "time" not in line or row.submitted_at is None:
        return False
    submitted: datetime = row.submitted_at
    return datetime.fromisoformat(line["time"]) + timedelta(seconds=CLOCKS_S) < submitted


def journal_taken_is_never_unpaid_here(sides: Sides) -> list[Hit]:
    """Money that was taken is paid here, or still open, or in a person's hands with that amount: never held_unpaid, never
    never_debited.

    Broken: an order that was paid counts as unpaid; it can be imported and paid again, and its agent was told 2.
    Do: pause payment for the agent; call it before it holds seats again.
    """
    return [
        Hit(hold, _order_of(sides.facts.attempts.get(hold, [])), _fen(lines))
        for hold, lines in sides.before.debits.items()
        if not any(_knows(row, _fen(lines)) for row in sides.facts.attempts.get(hold, []))
    ]


def _knows(row: Row[Any], taken_fen: int) -> bool:
    return row.proof is None or (row.proof in ("paid", "person") and row.debited_fen == taken_fen)


def journal_paid_here_was_taken(sides: Sides) -> list[Hit]:
    """What counts as debited here was really taken, to the fen; so every post has its debit.

    Broken: the agent's fund was charged, and its user's money paid out, for a payment that did not happen like that.
    Do: pause settlement for the agent; ask the cashier about the trade.
    """
    return [
        Hit(hold, row.order_no, int(row.debited_fen or 0))
        for hold, rows in sides.facts.attempts.items()
        for row in rows
        if row.proof in ("paid", "person") and _fen(sides.after.debits.get(hold, [])) != (row.debited_fen or 0)
    ]


def journal_purchased_was_issued(sides: Sides) -> list[Hit]:
    """What was proven as paid and ticketed was issued at 12306.

    Broken: an agent was told that it has tickets, and has none.
    Do: call the agent; look the hold up on 12306.
    """
    return [
        Hit(hold, row.order_no, int(row.debited_fen or 0))
        for hold, rows in sides.facts.attempts.items()
        for row in rows
        if row.proof == "paid" and hold not in sides.after.issues
    ]


def journal_callbacks_are_genuine(sides: Sides) -> list[Hit]:
    """Every callback that an agent received is signed, and says what a stored callback of that id says.

    Broken: an agent was told something that nobody decided, or could not check who told it.
    Do: `daifu pause stage notification`; compare the agent's key, and the order's callbacks.
    """
    known = {row.webhook_id: row for rows in sides.facts.callbacks.values() for row in rows}
    found = []
    for webhook_id, lines in sides.before.callbacks.items():
        row = known.get(webhook_id)
        for line in lines:
            told = (line["order_no"], line["pay_status"])
            if line["hmac_ok"] and told == (TEST_ORDER_NO, TEST_PAY_STATUS):
                continue  # somebody tried the address: `daifu callbacks test`
            if not line["hmac_ok"] or row is None or told != (row.order_no, row.pay_status):
                found.append(Hit(webhook_id, str(line["order_no"]), 0))
                break
    return found


def journal_delivered_was_received(sides: Sides) -> list[Hit]:
    """A callback that counts as delivered to a sandbox's agent was received there, and taken.

    Broken: an agent that counts as told was not.
    Do: `daifu callbacks resend`.
    """
    return [
        Hit(row.webhook_id, row.order_no, 0)
        for rows in sides.facts.callbacks.values()
        for row in rows
        if row.state == "delivered"
        and SANDBOX_AGENT.format(row.agent) in row.callback_url
        and not any(line["outcome"] == "ok" for line in sides.after.callbacks.get(row.webhook_id, []))
    ]


def journal_last_told_is_the_last_outcome(sides: Sides) -> list[Hit]:
    """The last thing that an agent took about an order is the order's last outcome, once that is delivered.

    Broken: the agent acts on an outcome that is not so any more.
    Do: `daifu callbacks resend` sends the latest one.
    """
    found = []
    for order_no, rows in sides.facts.callbacks.items():
        final = _delivered_outcome(rows)
        known = {row.webhook_id for row in rows}
        told = [line for line in sides.after.told.get(order_no, []) if line["webhook_id"] in known]
        if final is not None and told and told[-1]["webhook_id"] != final.webhook_id:
            found.append(Hit(str(told[-1]["webhook_id"]), order_no, 0))
    return found


def _delivered_outcome(rows: Sequence[Row[Any]]) -> Row[Any] | None:
    """The callback of the latest purchase's outcome, where it is delivered and nothing else is under way."""
    latest = max(rows, key=lambda row: int(row.generation))
    if any(row.state == "pending" for row in rows) or latest.generation != latest.order_generation:
        return None
    state = PurchaseState(latest.purchase_state)
    outcome = outcome_of(state)
    if state in LIVE or outcome is None:
        return None
    status = "3" if state is PurchaseState.NEVER_DEBITED else PAY_STATUS[outcome]
    mine = (row for row in rows if (row.generation, row.pay_status) == (latest.generation, status))
    return next((row for row in mine if row.state == "delivered"), None)


_CHECKS: tuple[tuple[Callable[[Sides], list[Hit]], str], ...] = (
    (journal_one_pay_per_hold, "P01 P03"),
    (journal_one_debit_per_hold, "P01"),
    (journal_one_debit_per_order, "P02"),
    (journal_every_pay_has_its_intent, "P04 P10"),
    (journal_taken_is_never_unpaid_here, "P05 P06 O04 O05 N05"),
    (journal_paid_here_was_taken, "P07"),
    (journal_purchased_was_issued, "O03"),
    (journal_callbacks_are_genuine, "N02 N04 N08"),
    (journal_delivered_was_received, "N03"),
    (journal_last_told_is_the_last_outcome, "N05"),
)
CHECKS: tuple[tuple[Words, Callable[[Sides], list[Hit]]], ...] = tuple(
    (words_of(check, Severity.MONEY, anchors), check) for check, anchors in _CHECKS
)
