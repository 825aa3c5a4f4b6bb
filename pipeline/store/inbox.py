"""What AM sent: request ids for good, requests that wait for their order, refunds that wait for their post."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Integer, Row, Text, bindparam, func, select, text, update

from pipeline.ledger import Account
from pipeline.store.clock import stamped
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new, insert_rows
from pipeline.store.sets import OverRows
from pipeline.store.tables import ledger_entries, ledger_postings, railway_refunds, requests
from pipeline.store.types import Json, Keys, db_now, one_of

if TYPE_CHECKING:
    from schemas.am_messages import AmMessage  # a type only: most stages read no message of AM

IS_WAITING = "answer = 'waiting'"  # literal, so that both planners match the partial index

_seen = OverRows(
    {"source": Text(), "id": Text()},
    lambda given: select(requests.c.source, requests.c.id, requests.c.digest, requests.c.generation).where(
        given.has(requests.c.source, "source"), given.has(requests.c.id, "id")
    ),
)
_take_waiting = (
    update(requests)
    .where(one_of(requests.c.order_no), text(IS_WAITING))
    .values(answer="taken")
    .returning(requests.c.source, requests.c.id, requests.c.order_no, requests.c.payload, requests.c.received_at)
)
_answer = OverRows(
    {"source": Text(), "id": Text(), "answer": Text(), "generation": Integer()},
    lambda given: (
        update(requests)
        .where(given.has(requests.c.source, "source"), given.has(requests.c.id, "id"))
        .values(answer=given.c.answer, generation=given.c.generation, payload=None)
    ),
)
_keep = OverRows(
    {"source": Text(), "id": Text(), "payload": Json()},
    lambda given: (
        update(requests)
        .where(given.has(requests.c.source, "source"), given.has(requests.c.id, "id"))
        .values(payload=given.c.payload)
    ),
)
# 8306: beside any other use of advisory locks (the migrations have their own)
_meet = select(
    func.pg_advisory_xact_lock(func.hashtextextended(func.unnest(bindparam("keys", type_=Keys())), 8306)),
    db_now().label("at"),
)
_unbooked = (
    select(railway_refunds)
    .where(one_of(railway_refunds.c.order_no), railway_refunds.c.posted.is_(False))
    .order_by(railway_refunds.c.at, railway_refunds.c.refund_id)
)
_posted = (
    select(ledger_postings.c.order_no, func.sum(ledger_entries.c.amount_fen).label("fen"))
    .select_from(ledger_entries.join(ledger_postings, ledger_postings.c.key == ledger_entries.c.posting_key))
    .where(one_of(ledger_postings.c.order_no), ledger_entries.c.account == Account.RAILWAY.value)
    .group_by(ledger_postings.c.order_no)
)


_waited_for = select(requests.c.id).where(requests.c.order_no == bindparam("o"), text(IS_WAITING)).limit(1)
_in_vain = (
    select(requests.c.payload)
    .where(requests.c.order_no == bindparam("o"), requests.c.answer == "refused", requests.c.payload.is_not(None))
    .order_by(requests.c.received_at.desc(), requests.c.id)
    .limit(1)
)


class Heard(NamedTuple):
    """A request to be remembered with its answer. `payload` only while it waits for its order."""

    message: AmMessage
    digest: str
    answer: str
    generation: int | None = None
    payload: dict[str, Any] | None = None


def seen(tx: Transaction, messages: Sequence[AmMessage]) -> dict[tuple[str, str], Row[Any]]:
    """The stored requests (digest, generation) with these sources and ids, by both."""
    rows = _seen.run(tx, sorted({(message.source, message.id) for message in messages}))
    return {(row.source, row.id): row for row in rows}


def remember(tx: Transaction, heard: Sequence[Heard]) -> None:
    """Store sources and ids for good. The same at once elsewhere: the second fails on the key and its batch is done again."""
    rows = [
        {
            "source": one.message.source,
            "id": one.message.id,
            "type": one.message.type,
            "order_no": one.message.order_no,
            "digest": one.digest,
            "answer": one.answer,
            "generation": one.generation,
            "payload": one.payload,
        }
        for one in heard
    ]
    insert_rows(tx, requests, rows, stamps=("received_at",))


def meet_orders(tx: Transaction, order_nos: Sequence[str]) -> None:
    """Make orders, the requests that overtook them and refusals about them wait for each other's commit: none has a row that the
    others could see or lock before. SQLite has one writer anyway."""
    if tx.postgresql and order_nos:
        met = tx.rows(_meet, {"keys": order_nos})
        stamped(tx, met[-1].at)  # once all are locked


def is_waited_for(tx: Transaction, order_no: str) -> bool:
    """Whether AM asked to pay for this order but has not said yet that the user paid."""
    return tx.one(_waited_for, {"o": order_no}) is not None


def take_waiting(tx: Transaction, order_nos: Sequence[str]) -> list[Row[Any]]:
    """Requests that overtook their order.paid, oldest first; whoever takes them answers them (`answer_waiting`)."""
    taken = tx.rows(_take_waiting, {"keys": order_nos}) if order_nos else []
    return sorted(taken, key=lambda row: (row.received_at, row.id))


def answer_waiting(tx: Transaction, answers: Sequence[tuple[str, str, str, int | None]]) -> None:
    """(source, id, answer, generation) of requests that waited: what they asked for is not kept any longer."""
    _answer.run(tx, answers)


def keep_in_vain(tx: Transaction, kept: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """(source, id, payload): what requests asked for that waited in vain, without their passwords; dead letters may be
    replayed."""
    _keep.run(tx, kept)


def waited_in_vain(tx: Transaction, order_no: str) -> dict[str, Any] | None:
    """The latest request that waited for this order in vain."""
    payload: dict[str, Any] | None = tx.run(_in_vain, {"o": order_no}).scalar()
    return payload


def remember_refund(tx: Transaction, order_no: str, refund_id: str, agent: str, amount_fen: int, at: datetime) -> bool:
    """Store a 12306 refund once per id. False: it is known."""
    row = {
        "order_no": order_no,
        "refund_id": refund_id,
        "agent": agent,
        "amount_fen": amount_fen,
        "at": at,
        "posted": False,
    }
    return bool(insert_new(tx, railway_refunds, [row], railway_refunds.c.refund_id))


def unbooked_refunds(tx: Transaction, order_nos: Sequence[str]) -> list[Row[Any]]:
    """Refunds of these orders that no post covers yet, oldest first."""
    return tx.rows(_unbooked, {"keys": order_nos})


def mark_booked(tx: Transaction, order_no: str, refund_id: str) -> None:
    tx.run(
        update(railway_refunds)
        .where(railway_refunds.c.order_no == order_no, railway_refunds.c.refund_id == refund_id)
        .values(posted=True)
    )


def posted_fen(tx: Transaction, *order_nos: str) -> dict[str, int]:
    """What was posted to 12306 for these orders, less what came back; missing where nothing was."""
    return {row.order_no: int(row.fen) for row in tx.rows(_posted, {"keys": order_nos})}
