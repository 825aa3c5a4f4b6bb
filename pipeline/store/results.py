"""Results for AM: written by the transaction that makes them true, published by the relay until the broker has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, case, exists, func, select, update

from pipeline.requests import ErrCode
from pipeline.states import PurchaseState, outcome_of
from pipeline.store import inbox
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.rows import append_rows, insert_rows
from pipeline.store.sets import Given
from pipeline.store.tables import orders, purchases, results
from pipeline.store.types import db_now, one_of
from schemas.results import ResultType, Told, result_bytes

_told_before = (
    select(results.c.order_no, func.max(results.c.seq).label("seq"))
    .where(one_of(results.c.order_no))
    .group_by(results.c.order_no)
)
_told_of_order = (
    select(func.coalesce(func.max(results.c.seq), 0))
    .where(results.c.order_no == orders.c.order_no)
    .correlate(orders)
    .scalar_subquery()
)
# An order's first result goes on from the refusals that were told before the order was known.
NEXT_SEQ: Final[Any] = case((orders.c.result_seq > 0, orders.c.result_seq), else_=_told_of_order) + 1


def first_seq(given: Given, name: str) -> Any:
    """NEXT_SEQ for many orders of which most have no result yet; `name` is the given column of their numbers. Whether anything was
    told of any is looked up once: for each of them alone it would cost the update half as much again."""
    if given.is_json:
        return NEXT_SEQ
    any_told = exists(select(results.c.row_key).where(given.names(results.c.order_no, name)))
    return case((orders.c.result_seq > 0, orders.c.result_seq), (any_told, _told_of_order), else_=0) + 1


#: What an update of orders that counts their results up (`result_seq=NEXT_SEQ`) returns for `emit_all`.
COUNTED: Final = (
    orders.c.order_no,
    orders.c.result_seq,
    orders.c.agent,
    orders.c.generation,
    orders.c.tickets,
    db_now().label("at"),
)
_count_up = update(orders).where(one_of(orders.c.order_no)).values(result_seq=NEXT_SEQ).returning(*COUNTED)
#: What an update of purchases returns for `emit_all`.
STANDING: Final = (
    purchases.c.id,
    purchases.c.state,
    purchases.c.reason,
    purchases.c.held_order_no,
    purchases.c.paid_fen,
    purchases.c.unfrozen_fen,
    purchases.c.partial_refund_fen,
)
_standing = select(*STANDING).where(one_of(purchases.c.id))
NONE: Final[Mapping[str, Row[Any]]] = {}
UNSENT = (
    select(results.c.row_key, results.c.type, results.c.body)
    .where(results.c.sent_at.is_(None))
    .order_by(results.c.at, results.c.seq)
)
_sent = update(results).where(one_of(results.c.row_key)).values(sent_at=db_now())
_resend_since = update(results).where(results.c.at >= bindparam("since", type_=results.c.at.type)).values(sent_at=None)
_resend_order = update(results).where(results.c.order_no == bindparam("o")).values(sent_at=None)


@dataclass(frozen=True, slots=True)
class Refused:
    """A request from the queue that was refused. The order may be unknown: its results count up from 1 all the same."""

    order_no: str
    agent: str
    request_id: str
    code: ErrCode
    words: str


class NewlyOpen(NamedTuple):
    """An order that is stored with its first generation open, as `emit_accepted` tells of it."""

    order_no: str
    agent: str
    at: datetime
    generation: int = 1
    result_seq: int = 1
    tickets: tuple[()] = ()


def emit_all(
    tx: Transaction,
    told: Sequence[tuple[str, int]],
    kind: ResultType,
    *,
    counted: Mapping[str, Row[Any]] = NONE,
    standing: Mapping[str, Row[Any]] = NONE,
) -> None:
    """Tell AM how these purchases, (order number, generation), stand now, as `kind`. Each order at most once. `counted`: orders
    that an update of this transaction has counted up already; `standing`: purchases as its last update left them, by their ids.

    Raises LookupError for an unknown one.
    """
    if not told:
        return
    counted = {**counted, **_counted(tx, [order_no for order_no, _generation in told if order_no not in counted])}
    keys = [f"{order_no}:{generation}" for order_no, generation in told]
    standing = {**standing, **_stand(tx, [key for key in keys if key not in standing])}
    rows = []
    for key, (order_no, generation) in zip(keys, told, strict=True):
        order, row = counted.get(order_no), standing.get(key)
        if order is None or row is None:
            raise LookupError(f"no purchase {key} to tell of")
        rows.append(_row(kind, _result(order, row, generation), f"{key}:{kind}"))
    append_rows(tx, results, rows, ignore=True)


def emit_accepted(tx: Transaction, opened: Sequence[tuple[Row[Any] | NewlyOpen, str | None]]) -> None:
    """Tell AM that purchases were accepted: (what `orders.next_generations` returned, or a new order; the hold that was named)."""
    kind: ResultType = "purchase.accepted"
    rows = []
    for order, hold in opened:
        result = _told(
            order.order_no,
            order.agent,
            order.generation,
            order.result_seq,
            order.at,
            held_order_no=hold,
            state=PurchaseState.ACCEPTED.value,
            tickets=order.tickets or (),
        )
        rows.append(_row(kind, result, f"{order.order_no}:{order.generation}:{kind}"))
    append_rows(tx, results, rows, ignore=True)


def emit(tx: Transaction, order_no: str, generation: int, kind: ResultType) -> None:
    """The same for one."""
    emit_all(tx, [(order_no, generation)], kind)


def _counted(tx: Transaction, order_nos: Sequence[str]) -> dict[str, Row[Any]]:
    """The orders with the number of their next result."""
    if not order_nos:
        return {}
    return {row.order_no: row for row in tx.rows(_count_up, {"keys": order_nos})}


def _stand(tx: Transaction, purchase_ids: Sequence[str]) -> dict[str, Row[Any]]:
    return {row.id: row for row in tx.rows(_standing, {"keys": purchase_ids})} if purchase_ids else {}


def _result(order: Row[Any], row: Row[Any], generation: int) -> Told:
    outcome = outcome_of(PurchaseState(row.state))
    known = outcome is not None
    return _told(
        order.order_no,
        order.agent,
        generation,
        order.result_seq,
        order.at,
        held_order_no=row.held_order_no,
        state=row.state,
        outcome=None if outcome is None else outcome.value,
        reason=row.reason,
        paid_fen=row.paid_fen if known else None,
        unfrozen_fen=row.unfrozen_fen if known else None,
        partial_refund_fen=row.partial_refund_fen if known else None,
        tickets=order.tickets or (),
    )


def _told(
    order_no: str,
    agent: str,
    generation: int,
    seq: int,
    at: datetime,
    *,
    held_order_no: str | None = None,
    state: str | None = None,
    outcome: str | None = None,
    reason: str | None = None,
    err_code: str | None = None,
    paid_fen: int | None = None,
    unfrozen_fen: int | None = None,
    partial_refund_fen: int | None = None,
    tickets: Sequence[Mapping[str, Any]] = (),
) -> Told:
    return {
        "order_no": order_no,
        "agent": agent,
        "generation": generation,
        "held_order_no": held_order_no,
        "state": state,
        "outcome": outcome,
        "reason": reason,
        "err_code": err_code,
        "paid_fen": paid_fen,
        "unfrozen_fen": unfrozen_fen,
        "partial_refund_fen": partial_refund_fen,
        "tickets": tickets,
        "seq": seq,
        "at": at,
    }


def emit_refusals(tx: Transaction, refused: Sequence[Refused]) -> None:
    """Tell AM which requests were refused, each once: several of one generation may be. Each order at most once."""
    if not refused:
        return
    at, order_nos = now(tx), [one.order_no for one in refused]
    counted = _counted(tx, order_nos)
    unknown = [order_no for order_no in order_nos if order_no not in counted]
    if unknown and tx.postgresql:
        # Whoever stores one of them just now, or refuses something about it, is visible afterwards: no number is given twice.
        inbox.meet_orders(tx, unknown)
        counted |= _counted(tx, unknown)
        unknown = [order_no for order_no in unknown if order_no not in counted]
    told = {row.order_no: row.seq for row in tx.rows(_told_before, {"keys": unknown})} if unknown else {}
    rows = []
    for one in refused:
        order = counted.get(one.order_no)
        generation = 0 if order is None else order.generation
        seq = told.get(one.order_no, 0) + 1 if order is None else order.result_seq
        result = _told(one.order_no, one.agent, generation, seq, at, reason=one.words[:64], err_code=one.code.value)
        key = f"{one.order_no}:{generation}:purchase.refused:{one.request_id}"
        rows.append(_row("purchase.refused", result, key))
    insert_rows(tx, results, rows, ignore=True)


def _row(kind: ResultType, result: Told, row_key: str) -> dict[str, Any]:
    body = result_bytes(kind, result).decode()
    return {
        "row_key": row_key,
        "order_no": result["order_no"],
        "seq": result["seq"],
        "type": kind,
        "body": body,
        "at": result["at"],
    }


def unsent(tx: Transaction, most: int) -> list[Any]:
    """Results the broker has not confirmed yet, oldest first: (row_key, type, body)."""
    return tx.rows(UNSENT.limit(most))


def mark_sent(tx: Transaction, row_keys: Sequence[str]) -> None:
    tx.rows(_sent, {"keys": list(row_keys)})


def resend(tx: Transaction, *, since: datetime | None, order_no: str | None) -> int:
    """Let the relay publish results again; returns how many."""
    if order_no is not None:
        return tx.moved(_resend_order, {"o": order_no})
    return tx.moved(_resend_since, {"since": since})
