"""The states of purchases, moved by guarded writes: what RETURNING does not name was no longer in the state that was expected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Row, Text, bindparam, case, exists, func, select, update

from pipeline.reasons import Reason
from pipeline.states import BEFORE_INTENT, PurchaseState, check
from pipeline.store.claimable import PAYING_IS_PAUSED
from pipeline.store.clock import stamped
from pipeline.store.engine import Transaction
from pipeline.store.results import STANDING
from pipeline.store.sets import OverRows
from pipeline.store.tables import attempts, purchases, tasks
from pipeline.store.types import Instant, db_now, one_of

# On the purchase's own row: a guarded write that waited for this row reads it anew, but any other table as of before.
_has_intent = purchases.c.intent_at.is_not(None)
_before_intent = purchases.c.state.in_(sorted(state.value for state in BEFORE_INTENT))


class End(NamedTuple):
    """The outcome of a purchase that is in state `was`. `by_way_of`: where that is another one, the state in between, which nobody
    ever reads: both steps are one write."""

    purchase_id: str
    was: PurchaseState
    becomes: PurchaseState
    reason: Reason | None
    detail: str
    paid_fen: int
    by_way_of: PurchaseState | None = None


class FoundHold(NamedTuple):
    """What the look found out about a purchase's held order. `stop_at` counts where it is the earlier one."""

    purchase_id: str
    held_order_no: str
    hold_deadline: datetime
    stop_at: datetime


_move = (
    update(purchases)
    .where(one_of(purchases.c.id), purchases.c.state == bindparam("was"))
    .values(state=bindparam("becomes"), updated_at=db_now())
    .returning(purchases.c.id)
)
_make_ready = OverRows(
    {"id": Text(), "sealed": Text()},
    lambda given: (
        update(purchases)
        .where(given.has(purchases.c.id, "id"), given.guard(purchases.c.state == PurchaseState.ACCEPTED.value))
        .values(state=PurchaseState.READY.value, password_sealed=given.c.sealed, updated_at=db_now())
        .returning(purchases.c.id)
    ),
)
_end = OverRows(
    {"id": Text(), "was": Text(), "becomes": Text(), "reason": Text(), "detail": Text(), "paid": BigInteger()},
    lambda given: (
        update(purchases)
        .where(given.has(purchases.c.id, "id"), given.guard(purchases.c.state == given.c.was))
        .values(
            state=given.c.becomes,
            reason=given.c.reason,
            detail=given.c.detail,
            password_sealed=None,
            paid_fen=given.c.paid,
            concluded_at=db_now(),
            updated_at=db_now(),
        )
        .returning(*STANDING, purchases.c.concluded_at)
    ),
)
_end_before_intent = OverRows(
    {"id": Text(), "reason": Text(), "detail": Text()},
    lambda given: (
        update(purchases)
        .where(given.has(purchases.c.id, "id"), given.guard(_before_intent, ~_has_intent))
        .values(
            state=PurchaseState.HELD_UNPAID.value,
            reason=given.c.reason,
            detail=given.c.detail,
            password_sealed=None,
            concluded_at=db_now(),
            updated_at=db_now(),
        )
        .returning(*STANDING)
    ),
)
_settle = OverRows(
    {"id": Text(), "unfrozen": BigInteger(), "back": BigInteger()},
    lambda given: (
        update(purchases)
        .where(given.has(purchases.c.id, "id"), given.guard(purchases.c.state == PurchaseState.PURCHASED.value))
        .values(
            state=PurchaseState.SETTLED.value,
            unfrozen_fen=given.c.unfrozen,
            partial_refund_fen=given.c.back,
            updated_at=db_now(),
        )
        .returning(*STANDING)
    ),
)
_nothing_unfrozen = (
    update(purchases).where(one_of(purchases.c.id)).values(unfrozen_fen=0, partial_refund_fen=0, updated_at=db_now())
)
_bind_hold = OverRows(
    {"id": Text(), "held": Text(), "deadline": Instant(), "stop_at": Instant()},
    lambda given: (
        update(purchases)
        .where(
            given.has(purchases.c.id, "id"), given.guard(purchases.c.state == PurchaseState.PAYING.value, ~_has_intent)
        )
        .values(
            held_order_no=given.c.held,
            hold_deadline=given.c.deadline,
            stop_at=case((purchases.c.stop_at > given.c.stop_at, given.c.stop_at), else_=purchases.c.stop_at),
            updated_at=db_now(),
        )
        .returning(purchases.c.id)
    ),
)
OVERDUE = (
    select(purchases.c.id, purchases.c.order_no, purchases.c.generation)
    .where(
        _before_intent,
        ~_has_intent,
        purchases.c.concluded_at.is_(None),  # with the line above: the predicate of the index
        purchases.c.stop_at <= db_now(),
        # After a restore a payment may have been forgotten: nobody says "unpaid" before it was asked about.
        ~PAYING_IS_PAUSED,
        ~exists(
            select(tasks.c.id).where(
                tasks.c.order_no == purchases.c.order_no, tasks.c.kind == "recovered_hold", tasks.c.closed_at.is_(None)
            )
        ),
    )
    .order_by(purchases.c.stop_at)
    .limit(bindparam("most"))
)


_in_doubt = (
    select(func.count())
    .select_from(attempts.join(purchases, purchases.c.id == attempts.c.purchase_id))
    .where(
        attempts.c.submitted_at.is_not(None),
        attempts.c.concluded_at.is_(None),
        purchases.c.state == PurchaseState.IN_DOUBT.value,
    )
)


def update_purchase(tx: Transaction, purchase_id: str, **values: Any) -> None:
    """Set columns of one purchase that no guard depends on."""
    tx.run(update(purchases).where(purchases.c.id == purchase_id).values(**values, updated_at=db_now()))


def move_all(tx: Transaction, ids: Sequence[str], was: PurchaseState, becomes: PurchaseState) -> set[str]:
    """Guarded step to a state that is no end; the purchases that were in `was`."""
    check(was, becomes)
    if not ids:
        return set()
    return {row.id for row in tx.rows(_move, {"keys": ids, "was": was.value, "becomes": becomes.value})}


def move(tx: Transaction, purchase_id: str, was: PurchaseState, becomes: PurchaseState) -> bool:
    """The same for one. False: the purchase is no longer in `was`."""
    return bool(move_all(tx, [purchase_id], was, becomes))


def make_ready(tx: Transaction, sealed: Sequence[tuple[str, str]]) -> set[str]:
    """accepted → ready with the password that was found: (purchase id, sealed). Those that were still accepted."""
    check(PurchaseState.ACCEPTED, PurchaseState.READY)
    return {row.id for row in _make_ready.run(tx, sealed)}


def end_all(tx: Transaction, ends: Sequence[End]) -> dict[str, Row[Any]]:
    """Guarded step that decides the outcome; the password goes. The purchases that were in the expected state, as they stand now
    (`results.STANDING`), by id."""
    values = []
    for each in ends:
        for current, following in pairwise(dict.fromkeys((each.was, each.by_way_of or each.was, each.becomes))):
            check(current, following)
        reason = None if each.reason is None else each.reason.value
        values.append((each.purchase_id, each.was.value, each.becomes.value, reason, each.detail, each.paid_fen))
    ended = _end.run(tx, values)
    if ended:
        stamped(tx, ended[0].concluded_at)
    return {row.id: row for row in ended}


def end(
    tx: Transaction,
    purchase_id: str,
    was: PurchaseState,
    becomes: PurchaseState,
    reason: Reason | None,
    detail: str,
    paid_fen: int,
) -> bool:
    """The same for one. False: the purchase is no longer in `was`."""
    return bool(end_all(tx, [End(purchase_id, was, becomes, reason, detail, paid_fen)]))


def end_before_intent(tx: Transaction, ends: Sequence[tuple[str, Reason, str]]) -> dict[str, Row[Any]]:
    """End (purchase id, reason, detail) as held_unpaid whatever the state before the intent is; those that had none, as `end_all`
    returns them.

    Their open attempts must have been closed first.
    """
    return {row.id: row for row in _end_before_intent.run(tx, [(key, reason.value, why) for key, reason, why in ends])}


def settle(tx: Transaction, amounts: Sequence[tuple[str, int, int]]) -> dict[str, Row[Any]]:
    """purchased → settled: (purchase id, unfrozen, partial refund), fen. Those that were purchased, as `end_all` returns them."""
    check(PurchaseState.PURCHASED, PurchaseState.SETTLED)
    return {row.id: row for row in _settle.run(tx, amounts)}


def nothing_unfrozen(tx: Transaction, ids: Sequence[str]) -> None:
    """The frozen money of these settled purchases had left before."""
    if ids:
        tx.run(_nothing_unfrozen, {"keys": ids})


def bind_holds(tx: Transaction, found: Sequence[FoundHold]) -> set[str]:
    """What the look found. Missing are purchases that were stopped, or that have their intent."""
    rows = [(each.purchase_id, each.held_order_no, each.hold_deadline, each.stop_at) for each in found]
    return {row.id for row in _bind_hold.run(tx, rows)}


def overdue(tx: Transaction, most: int) -> list[Row[Any]]:
    """Purchases without an intent whose `stop_at` has come: (id, order_no, generation). None while a recovery is under way."""
    return tx.rows(OVERDUE, {"most": most})


def stop_earlier(tx: Transaction, purchase_id: str, stop_at: datetime) -> None:
    """The hold's deadline turned out to be earlier than what we had."""
    tx.run(
        update(purchases)
        .where(purchases.c.id == purchase_id, purchases.c.stop_at > stop_at)
        .values(stop_at=stop_at, updated_at=db_now())
    )
