"""Attempts: the one row on which a payment's intent and everything that would stop it meet (DESIGN section 5.3).

Lock order everywhere: attempt row first, then purchase row. The intent guards both and is written on both: an end that
could not yet see a freshly opened attempt still wins over it, or finds on the purchase row that it lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.ledger import Account, hold
from pipeline.states import PurchaseState
from pipeline.store import ledger
from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts, meta, pauses, purchases
from pipeline.store.types import db_now, one_of
from pipeline.store.work_keys import PAYING_PAUSED


@dataclass(frozen=True, slots=True)
class Intent:
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

_open_of = (attempts.c.concluded_at.is_(None), attempts.c.submitted_at.is_(None))
_next_n = select(func.coalesce(func.max(attempts.c.n), 0) + 1).where(attempts.c.purchase_id == bindparam("p"))
_close_open = (
    update(attempts)
    .where(attempts.c.purchase_id == bindparam("p"), *_open_of)
    .values(concluded_at=db_now(), end_detail=bindparam("why"))
)
_close_one = (
    update(attempts)
    .where(attempts.c.id == bindparam("a"), *_open_of)
    .values(concluded_at=db_now(), end_detail=bindparam("why"))
)
_bind_hold = update(attempts).where(attempts.c.id == bindparam("a"), *_open_of).values(held_order_no=bindparam("h"))
_submit = (
    update(attempts)
    .where(attempts.c.id == bindparam("a"), attempts.c.fence == bindparam("f"), *_open_of)
    .values(
        submitted_at=db_now(),
        held_order_no=bindparam("h"),
        trade_no=bindparam("t"),
        amount_fen=bindparam("fen"),
        final_after=bindparam("final"),
    )
)
_still_paying = (
    update(purchases)
    .where(
        purchases.c.id == bindparam("p"),
        purchases.c.state == PurchaseState.PAYING.value,
        purchases.c.stop_at > db_now(),
        bindparam("form_until", type_=purchases.c.stop_at.type) > db_now(),
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
        ~exists(select(meta.c.name).where(meta.c.name == PAYING_PAUSED)),
    )
    .values(held_order_no=bindparam("h"), intent_at=db_now(), updated_at=db_now())
)
_conclude = (
    update(attempts)
    .where(attempts.c.id == bindparam("a"), attempts.c.submitted_at.is_not(None), attempts.c.concluded_at.is_(None))
    .values(concluded_at=db_now(), proof=bindparam("how"), debited_fen=bindparam("fen"), end_detail=bindparam("why"))
)
_asked = update(attempts).where(attempts.c.id == bindparam("a")).values(questions=attempts.c.questions + 1)
_submitted = select(attempts).where(one_of(attempts.c.purchase_id), attempts.c.submitted_at.is_not(None))
_recorded = select(attempts.c.id).where(
    attempts.c.id == bindparam("a"), attempts.c.fence == bindparam("f"), attempts.c.submitted_at.is_not(None)
)
_ever_submitted = select(
    exists(
        select(attempts.c.id).where(
            attempts.c.order_no == bindparam("o"),
            attempts.c.purchase_id != bindparam("p"),
            attempts.c.submitted_at.is_not(None),
        )
    )
)
_window_over = (
    select(attempts.c.id, attempts.c.purchase_id, attempts.c.order_no, attempts.c.generation)
    .where(
        attempts.c.submitted_at.is_not(None),
        attempts.c.concluded_at.is_(None),
        attempts.c.submitted_at + attempts.c.outage_us + bindparam("window_us") <= db_now(),
        ~exists(
            select(purchases.c.id).where(
                purchases.c.id == attempts.c.purchase_id, purchases.c.state == PurchaseState.PAID_ABNORMAL.value
            )
        ),
    )
    .limit(bindparam("most"))
)
_leave_out = (
    update(attempts)
    .where(attempts.c.submitted_at.is_not(None), attempts.c.concluded_at.is_(None))
    .values(
        outage_us=func.least(
            attempts.c.outage_us
            + db_now()
            - func.greatest(attempts.c.submitted_at, bindparam("since", type_=attempts.c.submitted_at.type)),
            bindparam("window_us"),
        )
    )
)
_leave_out_sqlite = (
    update(attempts)
    .where(attempts.c.submitted_at.is_not(None), attempts.c.concluded_at.is_(None))
    .values(
        outage_us=func.min(
            attempts.c.outage_us
            + db_now()
            - func.max(attempts.c.submitted_at, bindparam("since", type_=attempts.c.submitted_at.type)),
            bindparam("window_us"),
        )
    )
)
_of_order = select(attempts).where(attempts.c.order_no == bindparam("o")).order_by(attempts.c.generation, attempts.c.n)


def open_attempt(tx: Transaction, purchase_id: str, order_no: str, generation: int, login: str, fence: int) -> str:
    """Open an attempt; the caller has just moved the purchase from ready to paying. Returns the attempt id."""
    n = tx.run(_next_n, {"p": purchase_id}).scalar_one()
    attempt_id = f"{purchase_id}:{n}"
    tx.run(
        insert(attempts).values(
            id=attempt_id,
            purchase_id=purchase_id,
            order_no=order_no,
            generation=generation,
            n=n,
            fence=fence,
            login=login,
            opened_at=db_now(),
        )
    )
    return attempt_id


def close_open(tx: Transaction, purchase_id: str, why: str) -> bool:
    """Close the purchase's open attempt if it has no intent yet. False: there is none, or the intent came first."""
    return tx.moved(_close_open, {"p": purchase_id, "why": why}) > 0


def close_one(tx: Transaction, attempt_id: str, why: str) -> bool:
    """Close this very attempt if it has no intent: for the call that opened it."""
    return tx.moved(_close_one, {"a": attempt_id, "why": why}) > 0


def bind_hold(tx: Transaction, attempt_id: str, held_order_no: str) -> Refusal | None:
    """Bind the hold number that the look found. HOLD_TAKEN: another order's unresolved or paid attempt has it; STOPPED: the
    attempt was closed."""
    try:
        with tx.savepoint():
            moved = tx.moved(_bind_hold, {"a": attempt_id, "h": held_order_no})
    except IntegrityError:
        return HOLD_TAKEN
    return None if moved == 1 else STOPPED


def record_intent(tx: Transaction, intent: Intent) -> Refusal | None:
    """Record one intent with its ledger hold, or say why not; then nothing of it stays."""
    try:
        with tx.savepoint():
            _record(tx, intent)
    except _Stopped:
        return STOPPED
    except ledger.Overdrawn as error:
        return NO_FUNDS if error.account is Account.PROCUREMENT else STOPPED
    except IntegrityError:
        return HOLD_TAKEN
    return None


class _Stopped(Exception):
    """Rolls the savepoint back when a guard found that the payment must not be made."""


def _record(tx: Transaction, intent: Intent) -> None:
    won = tx.moved(
        _submit,
        {
            "a": intent.attempt_id,
            "f": intent.fence,
            "h": intent.held_order_no,
            "t": intent.trade_no,
            "fen": intent.amount_fen,
            "final": intent.final_after,
        },
    ) and tx.moved(
        _still_paying, {"p": intent.purchase_id, "h": intent.held_order_no, "form_until": intent.form_deadline}
    )
    if not won:
        raise _Stopped
    ledger.apply(tx, [hold(intent.agent, intent.order_no, intent.attempt_id, intent.amount_fen)])


def is_recorded(tx: Transaction, attempt_id: str, fence: int) -> bool:
    """Whether this very intent is stored: asked after a COMMIT whose answer was lost."""
    return tx.one(_recorded, {"a": attempt_id, "f": fence}) is not None


def conclude(tx: Transaction, attempt_id: str, proof: str, debited_fen: int | None, detail: str) -> bool:
    """Write down what was proven about a submitted attempt, once."""
    return tx.moved(_conclude, {"a": attempt_id, "how": proof, "fen": debited_fen, "why": detail}) > 0


def note_debit(tx: Transaction, attempt_id: str, debited_fen: int | None, detail: str) -> None:
    """What is known of an attempt that stays unresolved until a person closes it."""
    tx.run(update(attempts).where(attempts.c.id == attempt_id).values(debited_fen=debited_fen, end_detail=detail))


def asked(tx: Transaction, attempt_id: str) -> None:
    tx.run(_asked, {"a": attempt_id})


def submitted(tx: Transaction, purchase_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The submitted attempt of each purchase that has one, by purchase id."""
    return {row.purchase_id: row for row in tx.rows(_submitted, {"keys": list(purchase_ids)})}


def ever_submitted(tx: Transaction, order_no: str, other_than: str) -> bool:
    """Whether another generation of this order ever submitted anything."""
    return bool(tx.run(_ever_submitted, {"o": order_no, "p": other_than}).scalar_one())


def window_over(tx: Transaction, window_us: int, most: int) -> list[Row[Any]]:
    """Attempts in doubt whose window for questions is over: (id, purchase_id, order_no, generation)."""
    return tx.rows(_window_over, {"window_us": window_us, "most": most})


def leave_out(tx: Transaction, since: datetime, window_us: int) -> None:
    """Time with the breaker open does not count towards the window; at most one window in all is left out."""
    tx.run(_leave_out if tx.postgresql else _leave_out_sqlite, {"since": since, "window_us": window_us})


def of_order(tx: Transaction, order_no: str) -> list[Row[Any]]:
    return tx.rows(_of_order, {"o": order_no})
