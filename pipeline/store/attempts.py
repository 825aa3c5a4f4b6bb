"""Attempts: the one row on which a payment's intent and everything that would stop it meet (DESIGN section 5.3).

Lock order everywhere: attempt row first, then purchase row. The intent guards both and is written on both (intents.py): an end
that could not yet see a freshly opened attempt still wins over it, or finds on the purchase row that it lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Row, Text, Update, bindparam, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.errors import DaifuError
from pipeline.states import PurchaseState
from pipeline.store.engine import Transaction
from pipeline.store.intents import (
    FAILED,
    HOLD_TAKEN,
    NO_FUNDS,
    STOPPED,
    Intent,
    Refusal,
    is_recorded,
    record_intent,
    record_intents,
    recorded,
)
from pipeline.store.rows import insert_new, insert_rows
from pipeline.store.sets import OverRows
from pipeline.store.tables import attempts, purchases
from pipeline.store.types import Json, db_now, one_of


class HoldTaken(DaifuError):
    """A hold number has an unresolved or paid attempt already, and may have one only."""


class Opening(NamedTuple):
    """An attempt to be opened; the purchase has just been moved from ready to paying. `first`: it has none yet, as far as its
    work row tells."""

    purchase_id: str
    order_no: str
    generation: int
    login: str
    fence: int
    first: bool = False


class Conclusion(NamedTuple):
    """What was proven about a submitted attempt. `asked`: the questions that proved it, still to be counted."""

    attempt_id: str
    proof: str
    debited_fen: int | None
    detail: str
    asked: int = 0
    tickets: Sequence[Mapping[str, Any]] | None = None  # as 12306 lists them, where it paid


_open_of = (attempts.c.concluded_at.is_(None), attempts.c.submitted_at.is_(None))
_last_n = (
    select(attempts.c.purchase_id, func.max(attempts.c.n).label("n"))
    .where(one_of(attempts.c.order_no))
    .group_by(attempts.c.purchase_id)
)
_close_open = OverRows(
    {"purchase_id": Text(), "why": Text()},
    lambda given: (
        update(attempts)
        .where(given.has(attempts.c.purchase_id, "purchase_id"), *_open_of)
        .values(concluded_at=db_now(), end_detail=given.c.why)
        .returning(attempts.c.purchase_id)
    ),
)
_close = OverRows(
    {"id": Text(), "why": Text()},
    lambda given: (
        update(attempts)
        .where(given.has(attempts.c.id, "id"), given.guard(*_open_of))
        .values(concluded_at=db_now(), end_detail=given.c.why)
        .returning(attempts.c.id)
    ),
)
_bind_hold = OverRows(
    {"id": Text(), "held": Text()},
    lambda given: (
        update(attempts)
        .where(given.has(attempts.c.id, "id"), given.guard(*_open_of))
        .values(held_order_no=given.c.held)
        .returning(attempts.c.id)
    ),
)
_conclude = OverRows(
    {"id": Text(), "proof": Text(), "fen": BigInteger(), "why": Text(), "asked": BigInteger(), "tickets": Json()},
    lambda given: (
        update(attempts)
        .where(
            given.has(attempts.c.id, "id"),
            given.guard(attempts.c.submitted_at.is_not(None), attempts.c.concluded_at.is_(None)),
        )
        .values(
            concluded_at=db_now(),
            proof=given.c.proof,
            debited_fen=given.c.fen,
            end_detail=given.c.why,
            questions=attempts.c.questions + given.c.asked,
            tickets=given.c.tickets,
        )
        .returning(attempts.c.id)
    ),
)
_asked = update(attempts).where(one_of(attempts.c.id)).values(questions=attempts.c.questions + 1)
_ASKED_OF = "id purchase_id order_no login held_order_no trade_no amount_fen final_after questions concluded_at"
_submitted = select(*(attempts.c[name] for name in _ASKED_OF.split())).where(
    one_of(attempts.c.purchase_id), attempts.c.submitted_at.is_not(None)
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
WINDOW_OVER = (
    select(attempts.c.id, attempts.c.purchase_id, attempts.c.order_no, attempts.c.generation)
    .where(
        attempts.c.submitted_at.is_not(None),
        attempts.c.concluded_at.is_(None),
        attempts.c.submitted_at <= db_now() - bindparam("window_us"),  # follows from the next line; the index is by it
        attempts.c.submitted_at + attempts.c.outage_us + bindparam("window_us") <= db_now(),
        ~exists(
            select(purchases.c.id).where(
                purchases.c.id == attempts.c.purchase_id, purchases.c.state == PurchaseState.PAID_ABNORMAL.value
            )
        ),
    )
    .limit(bindparam("most"))
)


def _leaving_out(least: Any, greatest: Any) -> Update:
    since = bindparam("since", type_=attempts.c.submitted_at.type)
    more = attempts.c.outage_us + db_now() - greatest(attempts.c.submitted_at, since)
    return (
        update(attempts)
        .where(attempts.c.submitted_at.is_not(None), attempts.c.concluded_at.is_(None))
        .values(outage_us=least(more, bindparam("window_us")))
    )


_leave_out = {True: _leaving_out(func.least, func.greatest), False: _leaving_out(func.min, func.max)}
_of_order = select(attempts).where(attempts.c.order_no == bindparam("o")).order_by(attempts.c.generation, attempts.c.n)


def open_all(tx: Transaction, openings: Sequence[Opening]) -> dict[str, str]:
    """Open attempts, one per purchase; their ids by purchase id."""
    rows = [_opened(one, 1) for one in openings if one.first]
    new = insert_new(tx, attempts, rows, attempts.c.id, stamps=("opened_at",))
    opened = {str(row["purchase_id"]): str(row["id"]) for row in rows if row["id"] in new}
    left = [one for one in openings if one.purchase_id not in opened]
    if left:
        last = {row.purchase_id: row.n for row in tx.rows(_last_n, {"keys": [one.order_no for one in left]})}
        more = [_opened(one, last.get(one.purchase_id, 0) + 1) for one in left]
        insert_rows(tx, attempts, more, stamps=("opened_at",))
        opened |= {str(row["purchase_id"]): str(row["id"]) for row in more}
    return opened


def _opened(one: Opening, n: int) -> dict[str, Any]:
    return {
        "id": f"{one.purchase_id}:{n}",
        "purchase_id": one.purchase_id,
        "order_no": one.order_no,
        "generation": one.generation,
        "n": n,
        "fence": one.fence,
        "login": one.login,
    }


def open_attempt(tx: Transaction, purchase_id: str, order_no: str, generation: int, login: str, fence: int) -> str:
    """The same for one. Returns the attempt id."""
    return open_all(tx, [Opening(purchase_id, order_no, generation, login, fence)])[purchase_id]


def close_open_all(tx: Transaction, reasons: Sequence[tuple[str, str]]) -> set[str]:
    """Close the open attempts of (purchase id, why) that have no intent yet; the purchases that had one. The others have none
    open, or the intent came first."""
    return {row.purchase_id for row in _close_open.run(tx, reasons)}


def close_open(tx: Transaction, purchase_id: str, why: str) -> bool:
    return bool(close_open_all(tx, [(purchase_id, why)]))


def close_all(tx: Transaction, reasons: Sequence[tuple[str, str]]) -> set[str]:
    """Close these very attempts, (attempt id, why), where they have no intent: for the calls that opened them."""
    return {row.id for row in _close.run(tx, reasons)}


def close_one(tx: Transaction, attempt_id: str, why: str) -> bool:
    return bool(close_all(tx, [(attempt_id, why)]))


def bind_holds(tx: Transaction, found: Sequence[tuple[str, str]]) -> dict[str, Refusal]:
    """Bind the hold numbers that looks found, (attempt id, hold number); STOPPED by attempt id, where the attempt was closed.

    Raises HoldTaken, and the transaction is over: another order's unresolved or paid attempt has one of them.
    """
    try:
        bound = {row.id for row in _bind_hold.run(tx, found)}
    except IntegrityError as error:
        raise HoldTaken(f"one of {len(found)} holds is another attempt's") from error
    return {attempt_id: STOPPED for attempt_id, _hold in found if attempt_id not in bound}


def conclude_all(tx: Transaction, conclusions: Sequence[Conclusion]) -> set[str]:
    """Write down what was proven about submitted attempts, each once."""
    rows = [(one.attempt_id, one.proof, one.debited_fen, one.detail, one.asked, one.tickets) for one in conclusions]
    return {row.id for row in _conclude.run(tx, rows)}


def conclude(tx: Transaction, attempt_id: str, proof: str, debited_fen: int | None, detail: str) -> bool:
    return bool(conclude_all(tx, [Conclusion(attempt_id, proof, debited_fen, detail)]))


def note_debit(tx: Transaction, attempt_id: str, debited_fen: int | None, detail: str) -> None:
    """What is known of an attempt that stays unresolved until a person closes it."""
    tx.run(update(attempts).where(attempts.c.id == attempt_id).values(debited_fen=debited_fen, end_detail=detail))


def asked(tx: Transaction, attempt_ids: Sequence[str]) -> None:
    """Questions about them were put once more, and proved nothing."""
    if attempt_ids:
        tx.moved(_asked, {"keys": attempt_ids})


def submitted(tx: Transaction, purchase_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The submitted attempt of each purchase that has one, by purchase id."""
    keys = list(purchase_ids)
    return {row.purchase_id: row for row in tx.rows(_submitted, {"keys": keys})} if keys else {}


def ever_submitted(tx: Transaction, order_no: str, other_than: str) -> bool:
    """Whether another generation of this order ever submitted anything."""
    return bool(tx.run(_ever_submitted, {"o": order_no, "p": other_than}).scalar_one())


def window_over(tx: Transaction, window_us: int, most: int) -> list[Row[Any]]:
    """Attempts in doubt whose window for questions is over: (id, purchase_id, order_no, generation)."""
    return tx.rows(WINDOW_OVER, {"window_us": window_us, "most": most})


def leave_out(tx: Transaction, since: datetime, window_us: int) -> None:
    """Time with the breaker open does not count towards the window; at most one window in all is left out."""
    tx.run(_leave_out[tx.postgresql], {"since": since, "window_us": window_us})


def of_order(tx: Transaction, order_no: str) -> list[Row[Any]]:
    return tx.rows(_of_order, {"o": order_no})


__all__ = [
    "FAILED",
    "HOLD_TAKEN",
    "NO_FUNDS",
    "STOPPED",
    "Conclusion",
    "HoldTaken",
    "Intent",
    "Opening",
    "Refusal",
    "asked",
    "bind_holds",
    "close_all",
    "close_one",
    "close_open",
    "close_open_all",
    "conclude",
    "conclude_all",
    "ever_submitted",
    "is_recorded",
    "leave_out",
    "note_debit",
    "of_order",
    "open_all",
    "open_attempt",
    "record_intent",
    "record_intents",
    "recorded",
    "submitted",
    "window_over",
]
