"""The intents of payments: recorded under every guard at once, each with its ledger hold (DESIGN section 5.3).

Many in one transaction. Whoever a guard, the fund or a unique index stops is left out, and the others are recorded as if it
had never been among them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, Text, and_, exists, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.errors import DaifuError
from pipeline.ledger import Account, hold
from pipeline.states import PurchaseState
from pipeline.store import ledger
from pipeline.store.claimable import PAYING_IS_PAUSED
from pipeline.store.clock import stamped
from pipeline.store.engine import Transaction
from pipeline.store.sets import OverRows
from pipeline.store.tables import attempts, pauses, purchases
from pipeline.store.types import Instant, db_now, one_of


class Intent(NamedTuple):
    """What is recorded at the point of no return. Amount and deadline are those of the pay form."""

    attempt_id: str
    fence: int
    purchase_id: str
    order_no: str
    generation: int
    agent: str
    login: str
    held_order_no: str
    trade_no: str
    amount_fen: int
    form_deadline: datetime
    final_after: datetime
    urgency: datetime


class Refusal(str):
    """Why an intent was not recorded: `stopped`, `insufficient_funds`, `held_order_conflict` or `failed`."""


STOPPED, NO_FUNDS, HOLD_TAKEN = Refusal("stopped"), Refusal("insufficient_funds"), Refusal("held_order_conflict")
FAILED = Refusal("failed")  # an exception nobody named: a try that counts

_submit = OverRows(
    {
        "id": Text(),
        "fence": BigInteger(),
        "held": Text(),
        "trade": Text(),
        "fen": BigInteger(),
        "final_after": Instant(),
    },
    lambda given: (
        update(attempts)
        .where(
            given.has(attempts.c.id, "id"),
            given.guard(
                attempts.c.fence == given.c.fence,
                attempts.c.concluded_at.is_(None),
                attempts.c.submitted_at.is_(None),
            ),
        )
        .values(
            submitted_at=db_now(),
            held_order_no=given.c.held,
            trade_no=given.c.trade,
            amount_fen=given.c.fen,
            final_after=given.c.final_after,
        )
        .returning(attempts.c.id, attempts.c.submitted_at)
    ),
)
_still_paying = OverRows(
    {"id": Text(), "held": Text(), "form_until": Instant()},
    lambda given: (
        update(purchases)
        .where(
            given.has(purchases.c.id, "id"),
            given.guard(
                purchases.c.state == PurchaseState.PAYING.value,
                purchases.c.stop_at > db_now(),
                given.c.form_until > db_now(),
            ),
            # A pause that was committed before this statement wins, also over a claim that it could not see.
            ~exists(
                select(pauses.c.name).where(
                    or_(
                        and_(pauses.c.scope == "stage", pauses.c.name == "payment"),
                        and_(pauses.c.scope == "agent", pauses.c.name == purchases.c.agent),
                        and_(pauses.c.scope == "account", pauses.c.name == purchases.c.login),
                    )
                )
            ),
            ~PAYING_IS_PAUSED,
        )
        .values(held_order_no=given.c.held, intent_at=db_now(), updated_at=db_now())
        .returning(purchases.c.id)
    ),
)
_recorded = select(attempts.c.id, attempts.c.fence).where(one_of(attempts.c.id), attempts.c.submitted_at.is_not(None))


def record_intents(tx: Transaction, intents: Sequence[Intent]) -> dict[str, Refusal]:
    """Record intents with their ledger holds; by attempt id why one was not, of which then nothing stays. Each try has a
    savepoint: `record_all` does without, where nothing speaks against any of them, as nearly always.

    Where a fund can't serve all, the soonest `urgency` is served first. Funds in one order over all workers: two that take the
    same two funds the other way round would end in a deadlock.
    """
    refused: dict[str, Refusal] = {}
    left = sorted(intents, key=lambda intent: (intent.agent, intent.urgency, intent.attempt_id))
    while left:
        try:
            with tx.savepoint():
                _record(tx, left)
            break
        except _Stopped as stopped:
            refused |= dict.fromkeys(stopped.attempt_ids, STOPPED)
        except ledger.Overdrawn as error:
            refused |= _not_served(tx, left, error)
        except IntegrityError:  # the hold number is another order's, or another attempt of this one was submitted
            if len(left) == 1:
                return refused | {left[0].attempt_id: HOLD_TAKEN}
            middle = len(left) // 2
            return refused | record_intents(tx, left[:middle]) | record_intents(tx, left[middle:])
        left = [intent for intent in left if intent.attempt_id not in refused]
    return refused


def record_all(tx: Transaction, intents: Sequence[Intent]) -> None:
    """Record all of these intents. Raises Contested where one of them can't be, and the transaction is over."""
    try:
        _record(tx, intents)
    except (_Stopped, ledger.Overdrawn, IntegrityError) as error:
        raise Contested from error


def record_intent(tx: Transaction, intent: Intent) -> Refusal | None:
    """The same for one."""
    return record_intents(tx, [intent]).get(intent.attempt_id)


class Contested(DaifuError):
    """A guard, a fund or a unique index speaks against one of several intents."""


class _Stopped(Exception):
    """Rolls the savepoint back when a guard found that payments must not be made."""

    def __init__(self, attempt_ids: Sequence[str]) -> None:
        super().__init__(len(attempt_ids))
        self.attempt_ids = attempt_ids


def _record(tx: Transaction, intents: Sequence[Intent]) -> None:
    rows = [(i.attempt_id, i.fence, i.held_order_no, i.trade_no, i.amount_fen, i.final_after) for i in intents]
    submitted = {row.id: row.submitted_at for row in _submit.run(tx, rows)}
    for moment in submitted.values():
        stamped(tx, moment)
    won = [intent for intent in intents if intent.attempt_id in submitted]
    paying = {row.id for row in _still_paying.run(tx, [(i.purchase_id, i.held_order_no, i.form_deadline) for i in won])}
    stopped = [i.attempt_id for i in intents if i.attempt_id not in submitted or i.purchase_id not in paying]
    if stopped:
        raise _Stopped(stopped)
    ledger.apply(tx, [hold(i.agent, i.order_no, i.attempt_id, i.amount_fen) for i in intents])


def _not_served(tx: Transaction, intents: Sequence[Intent], error: ledger.Overdrawn) -> dict[str, Refusal]:
    """Who goes without in the funds that can't serve all. The funds are locked, so what is served now stays served."""
    refused: dict[str, Refusal] = {}
    short = {agent for agent, account in error.short if account is Account.PROCUREMENT}
    others = {agent for agent, _account in error.short} - short
    refused |= {intent.attempt_id: STOPPED for intent in intents if intent.agent in others}
    rest: dict[str, int] = defaultdict(int, ledger.lock_funds(tx, sorted(short)))
    for intent in intents:
        if intent.agent not in short:
            continue
        if intent.amount_fen > rest[intent.agent]:
            refused[intent.attempt_id] = NO_FUNDS
        else:
            rest[intent.agent] -= intent.amount_fen
    return refused


def recorded(tx: Transaction, intents: Iterable[tuple[str, int]]) -> set[str]:
    """Those of these very intents, (attempt id, fence), that are stored: asked after a COMMIT whose answer was lost."""
    wanted = dict(intents)
    rows = tx.rows(_recorded, {"keys": list(wanted)})
    return {row.id for row in rows if row.fence == wanted[row.id]}


def is_recorded(tx: Transaction, attempt_id: str, fence: int) -> bool:
    """The same for one."""
    return bool(recorded(tx, [(attempt_id, fence)]))
