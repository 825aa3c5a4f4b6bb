"""What AM sent: request ids for good, requests that wait for their order, refunds that wait for their post."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, func, insert, select, text, update

from pipeline.ledger import Account
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import ledger_entries, ledger_postings, railway_refunds, requests
from schemas.am_messages import AmMessage

_seen = select(requests).where(requests.c.source == bindparam("s"), requests.c.id == bindparam("i"))
_take_waiting = (
    update(requests)
    .where(requests.c.order_no == bindparam("o"), requests.c.answer == "waiting")
    .values(answer="taken")
    .returning(requests.c.source, requests.c.id, requests.c.order_no, requests.c.payload, requests.c.received_at)
)
# 8306: beside any other use of advisory locks (the migrations have their own)
_meet = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("o"), 8306)))
_unbooked = (
    select(railway_refunds)
    .where(railway_refunds.c.order_no == bindparam("o"), railway_refunds.c.posted.is_(False))
    .order_by(railway_refunds.c.at, railway_refunds.c.refund_id)
)
_posted = (
    select(func.coalesce(func.sum(ledger_entries.c.amount_fen), 0))
    .select_from(ledger_entries.join(ledger_postings, ledger_postings.c.key == ledger_entries.c.posting_key))
    .where(ledger_postings.c.order_no == bindparam("o"), ledger_entries.c.account == Account.RAILWAY.value)
)


_waited_for = select(requests.c.id).where(requests.c.order_no == bindparam("o"), text("answer = 'waiting'")).limit(1)
_in_vain = (
    select(requests.c.payload)
    .where(requests.c.order_no == bindparam("o"), requests.c.answer == "refused", requests.c.payload.is_not(None))
    .order_by(requests.c.received_at.desc(), requests.c.id)
    .limit(1)
)


def seen(tx: Transaction, source: str, request_id: str) -> Row[Any] | None:
    """The stored request with this source and id, if any."""
    return tx.one(_seen, {"s": source, "i": request_id})


def remember(
    tx: Transaction,
    message: AmMessage,
    digest: str,
    answer: str,
    generation: int | None,
    payload: dict[str, Any] | None = None,
) -> None:
    """Store source and id for good. Two at once: the second fails on the key and its batch is done again."""
    tx.run(
        insert(requests).values(
            source=message.source,
            id=message.id,
            type=message.type,
            order_no=message.order_no,
            digest=digest,
            answer=answer,
            generation=generation,
            payload=payload,
            received_at=now(tx),
        )
    )


def meet_order(tx: Transaction, order_no: str) -> None:
    """Make an order and the requests that overtook it wait for each other's commit: neither has a row that the other could
    see or lock before. SQLite has one writer anyway."""
    if tx.postgresql:
        tx.run(_meet, {"o": order_no})


def is_waited_for(tx: Transaction, order_no: str) -> bool:
    """Whether AM asked to pay for this order but has not said yet that the user paid."""
    return tx.one(_waited_for, {"o": order_no}) is not None


def take_waiting(tx: Transaction, order_no: str) -> list[Row[Any]]:
    """Requests that overtook this order's order.paid, oldest first; whoever takes them answers them (`answer_waiting`)."""
    taken = tx.rows(_take_waiting, {"o": order_no})
    return sorted(taken, key=lambda row: (row.received_at, row.id))


def answer_waiting(tx: Transaction, source: str, request_id: str, answer: str, generation: int | None) -> None:
    tx.run(
        update(requests)
        .where(and_(requests.c.source == source, requests.c.id == request_id))
        .values(answer=answer, generation=generation, payload=None)
    )


def keep_in_vain(tx: Transaction, source: str, request_id: str, payload: dict[str, Any]) -> None:
    """What a request asked for that waited in vain, without its password: its dead letter may be replayed."""
    tx.run(
        update(requests).where(and_(requests.c.source == source, requests.c.id == request_id)).values(payload=payload)
    )


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


def unbooked_refunds(tx: Transaction, order_no: str) -> list[Row[Any]]:
    return tx.rows(_unbooked, {"o": order_no})


def mark_booked(tx: Transaction, order_no: str, refund_id: str) -> None:
    tx.run(
        update(railway_refunds)
        .where(railway_refunds.c.order_no == order_no, railway_refunds.c.refund_id == refund_id)
        .values(posted=True)
    )


def posted_fen(tx: Transaction, order_no: str) -> int:
    """What was posted to 12306 for this order, less what came back."""
    return int(tx.run(_posted, {"o": order_no}).scalar_one())
