"""Results for AM: written by the transaction that makes them true, published by the relay until the broker has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update

from pipeline.reasons import Outcome
from pipeline.requests import ErrCode
from pipeline.states import PurchaseState, outcome_of
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_rows
from pipeline.store.tables import orders, purchases, results
from pipeline.store.types import db_now, one_of
from schemas.results import Result, ResultType, result_event

_next_seq = (
    update(orders)
    .where(orders.c.order_no == bindparam("o"))
    .values(result_seq=orders.c.result_seq + 1)
    .returning(orders.c.result_seq, orders.c.agent, orders.c.generation, orders.c.tickets, db_now().label("at"))
)
_purchase = select(purchases).where(purchases.c.id == bindparam("p"))
_unsent = (
    select(results.c.row_key, results.c.type, results.c.body)
    .where(results.c.sent_at.is_(None))
    .order_by(results.c.at, results.c.seq)
)
_sent = update(results).where(one_of(results.c.row_key)).values(sent_at=db_now())
_resend_since = update(results).where(results.c.at >= bindparam("since", type_=results.c.at.type)).values(sent_at=None)
_resend_order = update(results).where(results.c.order_no == bindparam("o")).values(sent_at=None)


def emit(tx: Transaction, order_no: str, generation: int, kind: ResultType) -> None:
    """Tell AM how this purchase stands now, as `kind`."""
    order = tx.one(_next_seq, {"o": order_no})
    row = tx.one(_purchase, {"p": f"{order_no}:{generation}"})
    if order is None or row is None:
        raise LookupError(f"no purchase {order_no}:{generation} to tell of")
    state = PurchaseState(row.state)
    outcome: Outcome | None = outcome_of(state)
    known = outcome is not None
    result = Result(
        order_no=order_no,
        agent=order.agent,
        generation=generation,
        held_order_no=row.held_order_no,
        state=state.value,
        outcome=None if outcome is None else outcome.value,
        reason=row.reason,
        paid_fen=row.paid_fen if known else None,
        unfrozen_fen=row.unfrozen_fen if known else None,
        partial_refund_fen=row.partial_refund_fen if known else None,
        tickets=tuple(order.tickets or ()),
        seq=order.result_seq,
        at=order.at,
    )
    _store(tx, kind, result, order.at, f"{order_no}:{generation}:{kind}")


def emit_refusal(
    tx: Transaction, order_no: str, agent: str, request_id: str, code: ErrCode, words: str, at: datetime
) -> None:
    """Tell AM that a request from the queue was refused. The order may be unknown; then `seq` is 1."""
    order = tx.one(_next_seq, {"o": order_no})
    generation = 0 if order is None else order.generation
    result = Result(
        order_no=order_no,
        agent=agent,
        generation=generation,
        reason=words[:64],
        err_code=code.value,
        seq=1 if order is None else order.result_seq,
        at=at,
    )
    # Several requests of one generation may be refused; each is told once.
    _store(tx, "purchase.refused", result, at, f"{order_no}:{generation}:purchase.refused:{request_id}")


def _store(tx: Transaction, kind: ResultType, result: Result, at: datetime, row_key: str) -> None:
    body = result_event(kind, result).to_bytes().decode()
    row = {"row_key": row_key, "order_no": result.order_no, "seq": result.seq, "type": kind, "body": body, "at": at}
    insert_rows(tx, results, [row], ignore=True)


def unsent(tx: Transaction, most: int) -> list[Any]:
    """Results the broker has not confirmed yet, oldest first: (row_key, type, body)."""
    return tx.rows(_unsent.limit(most))


def mark_sent(tx: Transaction, row_keys: Sequence[str]) -> None:
    tx.run(_sent, {"keys": list(row_keys)})


def resend(tx: Transaction, *, since: datetime | None, order_no: str | None) -> int:
    """Let the relay publish results again; returns how many."""
    if order_no is not None:
        return tx.moved(_resend_order, {"o": order_no})
    return tx.moved(_resend_since, {"since": since})
