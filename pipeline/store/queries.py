"""What people and their tools read: orders as INTERFACES section 6 shows them. One place for the CLI, the console and the metrics.

Amounts are fen, times are Asia/Shanghai in RFC 3339 with offset. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, case, func, select, text

from pipeline.ledger import Account
from pipeline.matching import SHANGHAI
from pipeline.states import Closure, PurchaseState, order_state, outcome_of
from pipeline.store import attempts as attempt_store
from pipeline.store import callbacks as callback_store
from pipeline.store import history, ledger
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries_details import brief, whole
from pipeline.store.tables import NOT_PROVEN_UNPAID, callbacks, ledger_entries, ledger_postings, orders, purchases
from pipeline.store.tables import attempts as attempt_table
from pipeline.store.types import one_of

Json = dict[str, Any]
PAY_METHOD = "支付宝"  # the one cashier that purchases are paid at

LATEST = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_submitted = and_(attempt_table.c.purchase_id == purchases.c.id, attempt_table.c.submitted_at.is_not(None))
LISTING = select(
    orders.c.order_no,
    orders.c.agent,
    orders.c.closure,
    orders.c.generation,
    orders.c.fare_fen,
    orders.c.details,
    orders.c.departure_at,
    orders.c.ordered_at,
    orders.c.created_at,
    orders.c.updated_at.label("order_updated_at"),
    purchases.c.state,
    purchases.c.reason,
    purchases.c.login,
    purchases.c.held_order_no,
    purchases.c.stated_fen,
    purchases.c.paid_fen,
    purchases.c.unfrozen_fen,
    purchases.c.partial_refund_fen,
    purchases.c.hold_deadline,
    purchases.c.stop_at,
    purchases.c.updated_at,
    attempt_table.c.amount_fen,
).select_from(orders.outerjoin(purchases, LATEST).outerjoin(attempt_table, _submitted))
# The payment that counts: of an attempt that was proven not to have moved money there is nothing to show.
_ONE = LISTING.add_columns(
    orders.c.paid_at.label("order_paid_at"),
    orders.c.tickets,
    orders.c.close_detail,
    orders.c.refund_requested_at,
    orders.c.refund_closed_at,
    purchases.c.detail,
    case((text(NOT_PROVEN_UNPAID), attempt_table.c.submitted_at)).label("submitted_at"),
    attempt_table.c.tickets.label("attempt_tickets"),
).where(orders.c.order_no == bindparam("o"))
_refunds = (
    select(ledger_postings.c.order_no, func.sum(ledger_entries.c.amount_fen).label("fen"))
    .select_from(ledger_entries.join(ledger_postings, ledger_postings.c.key == ledger_entries.c.posting_key))
    .where(ledger_entries.c.account == Account.REFUND.value, one_of(ledger_postings.c.order_no))
    .group_by(ledger_postings.c.order_no)
)
_told = (
    select(callbacks.c.order_no, callbacks.c.pay_status, callbacks.c.state)
    .where(one_of(callbacks.c.order_no), callbacks.c.state != "cancelled")
    .order_by(callbacks.c.id)
)
_postings = (
    select(
        ledger_postings.c.id,
        ledger_postings.c.at,
        ledger_postings.c.kind,
        ledger_entries.c.account,
        ledger_entries.c.amount_fen,
    )
    .select_from(ledger_postings.join(ledger_entries, ledger_entries.c.posting_key == ledger_postings.c.key))
    .where(ledger_postings.c.order_no == bindparam("o"))
    .order_by(ledger_postings.c.id, ledger_entries.c.id)
)


def shown(moment: datetime | None) -> str | None:
    """RFC 3339 in Asia/Shanghai, to the millisecond."""
    return None if moment is None else moment.astimezone(SHANGHAI).isoformat(timespec="milliseconds")


def as_listed(tx: Transaction, rows: Iterable[Row[Any]]) -> list[Json]:
    """Rows of LISTING as people read them, in their order."""
    found = list(rows)
    keys = {"keys": [row.order_no for row in found]}
    refunds = {row.order_no: int(row.fen) for row in tx.rows(_refunds, keys)}
    told = {row.order_no: row for row in tx.rows(_told, keys)}
    return [_row_of(row, refunds.get(row.order_no, 0), told.get(row.order_no)) for row in found]


def _row_of(row: Row[Any], refund_fen: int, told: Row[Any] | None) -> Json:
    latest = None if row.state is None else PurchaseState(row.state)
    outcome = None if latest is None else outcome_of(latest)
    closure = None if row.closure is None else Closure(row.closure)
    return {
        "order_no": row.order_no,
        "agent": row.agent,
        "order_state": order_state(closure, latest).value,
        "state": row.state,
        "outcome": None if outcome is None else outcome.value,
        "reason": row.reason,
        "generation": row.generation,
        "account": row.login,
        "held_order_no": row.held_order_no,
        "fare_fen": row.fare_fen,
        "price_fen": row.stated_fen if row.amount_fen is None else row.amount_fen,
        "paid_fen": row.paid_fen or 0,
        "unfrozen_fen": row.unfrozen_fen or 0,
        "partial_refund_fen": row.partial_refund_fen or 0,
        "refund_fen": refund_fen,
        "pay_status": None if told is None else told.pay_status,
        "agent_told": told is not None and told.state == "delivered",
        "deadline": shown(row.hold_deadline),
        "stop_at": shown(row.stop_at),
        "updated_at": shown(max(row.order_updated_at, row.updated_at or row.order_updated_at)),
        "departure_at": shown(row.departure_at),
        "ordered_at": shown(row.ordered_at),
        **brief(row.details),
    }


def show_order(tx: Transaction, order_no: str) -> Json | None:
    """One order: its row, what AM said of it, its payment and tickets, attempts, postings, callbacks, story. None: unknown."""
    found = tx.rows(_ONE, {"o": order_no})
    if not found:
        return None
    (row,), tried = found, attempt_store.of_order(tx, order_no)
    return {
        **as_listed(tx, found)[0],
        **whole(row.details, row.tickets or row.attempt_tickets or ()),
        "paid_at": shown(row.order_paid_at),
        "pay_at": shown(row.submitted_at),
        "pay_fen": row.paid_fen or row.amount_fen,
        "pay_method": None if row.submitted_at is None else PAY_METHOD,
        "closed_because": " ".join(filter(None, ((row.close_detail or {}).get(name) for name in ("words", "comment")))),
        "refund_requested_at": shown(row.refund_requested_at),
        "refund_closed_at": shown(row.refund_closed_at),
        "detail": row.detail or "",
        "attempts": [_attempt(one) for one in tried],
        "postings": postings_of(tx, order_no),
        "callbacks": [
            {
                "at": shown(call.at),
                "pay_status": call.pay_status,
                "answer": call.answer,
                "status": call.status,
                "delivered": call.delivered,
            }
            for call in callback_store.calls_of(tx, order_no)
        ],
        "story": [{**line, "at": shown(line["at"])} for line in history.story(tx, order_no)],
    }


def _attempt(row: Row[Any]) -> Json:
    return {
        "id": row.id,
        "held_order_no": row.held_order_no,
        "opened_at": shown(row.opened_at),
        "submitted_at": shown(row.submitted_at),
        "concluded_at": shown(row.concluded_at),
        "amount_fen": row.amount_fen,
        "proof": row.proof,
        "debited_fen": row.debited_fen,
        "trade_no": row.trade_no,
        "detail": row.end_detail,
    }


def postings_of(tx: Transaction, order_no: str) -> list[Json]:
    """An order's postings, one line per pair of accounts: a posting with three legs gives two."""
    legs: dict[int, list[Row[Any]]] = {}
    for row in tx.rows(_postings, {"o": order_no}):
        legs.setdefault(row.id, []).append(row)
    return [line for posting in legs.values() for line in _pairs(posting)]


def _pairs(legs: list[Row[Any]]) -> list[Json]:
    gives = [[leg.account, -leg.amount_fen] for leg in legs if leg.amount_fen < 0]
    gains = [[leg.account, leg.amount_fen] for leg in legs if leg.amount_fen > 0]
    lines: list[Json] = []
    while gives and gains:
        fen = min(gives[0][1], gains[0][1])
        lines.append(
            {
                "at": shown(legs[0].at),
                "kind": legs[0].kind,
                "from": gives[0][0],
                "to": gains[0][0],
                "amount_fen": fen,
            }
        )
        for side in (gives, gains):
            side[0][1] -= fen
            if side[0][1] == 0:
                side.pop(0)
    return lines


def funds_of(tx: Transaction, agent: str) -> Json:
    """The agent's balances, `…_fen` each."""
    return {f"{account.value}_fen": fen for account, fen in ledger.balances(tx, agent).items()}
