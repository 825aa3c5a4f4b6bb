"""销售明细: one line for each payment that bought, or may have bought, an order's tickets, by the day it was submitted in Shanghai."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, func, select, text

from pipeline.ledger import Account
from pipeline.matching import SHANGHAI
from pipeline.states import Closure, PurchaseState, order_state
from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.tables import NOT_PROVEN_UNPAID, attempts, ledger_entries, ledger_postings, orders, purchases
from pipeline.store.types import one_of
from schemas.codes import seat_name

AT_ONCE: Final = 1000
PAY_METHOD: Final = "支付宝"  # the cashier's only one
# Its money moved, or may have; what is in doubt is in flight, and not sold yet.
BOUGHT: Final = (PurchaseState.PURCHASED, PurchaseState.SETTLED, PurchaseState.PAID_ABNORMAL, PurchaseState.REFUNDED)

_paid = func.coalesce(attempts.c.debited_fen, attempts.c.amount_fen)
_source = attempts.join(purchases, purchases.c.id == attempts.c.purchase_id).join(
    orders, orders.c.order_no == attempts.c.order_no
)
_listing = select(
    attempts.c.submitted_at,
    attempts.c.id,
    attempts.c.order_no,
    attempts.c.held_order_no,
    attempts.c.login,
    attempts.c.trade_no,
    _paid.label("paid_fen"),
    purchases.c.agent,
    purchases.c.state,
    purchases.c.unfrozen_fen,
    purchases.c.partial_refund_fen,
    orders.c.closure,
    orders.c.fare_fen,
    orders.c.details,
    orders.c.tickets,
    orders.c.departure_at,
).select_from(_source)
_sums = select(
    func.count().label("rows"),
    func.coalesce(func.sum(orders.c.fare_fen), 0).label("fare_fen"),
    func.coalesce(func.sum(_paid), 0).label("paid_fen"),
    func.coalesce(func.sum(purchases.c.partial_refund_fen), 0).label("partial_refund_fen"),
    func.coalesce(func.sum(purchases.c.unfrozen_fen), 0).label("unfrozen_fen"),
).select_from(_source)
_with_entries = ledger_postings.join(ledger_entries, ledger_entries.c.posting_key == ledger_postings.c.key)
_refunds = (
    select(ledger_postings.c.order_no, func.sum(ledger_entries.c.amount_fen).label("fen"))
    .select_from(_with_entries)
    .where(ledger_entries.c.account == Account.REFUND.value, one_of(ledger_postings.c.order_no))
    .group_by(ledger_postings.c.order_no)
)


@dataclass(frozen=True, slots=True)
class SalesFilter:
    """Payments submitted from `since` to before `until`, of one agent or all."""

    since: datetime
    until: datetime
    agent: str | None = None


def page_of_sales(tx: Transaction, wanted: SalesFilter, cursor: str | None = None, limit: int = PAGE) -> Page:
    """Oldest first. Raises BadCursor."""
    keys = [attempts.c.submitted_at, attempts.c.id]
    rows, following = fetch(tx, _filtered(_listing, wanted), keys, cursor, limit, descending=False)
    found = {row.order_no: int(row.fen) for row in tx.rows(_refunds, {"keys": [row.order_no for row in rows]})}
    return Page([_shown(row, found.get(row.order_no, 0)) for row in rows], following)


def every_sale(read: Callable[[Callable[[Transaction], Page]], Page], wanted: SalesFilter) -> Iterator[list[Json]]:
    """All of them, AT_ONCE at a time, each part in a transaction of its own: a long report holds no snapshot and little memory."""
    cursor: str | None = None
    while True:
        page = read(lambda tx, cursor=cursor: page_of_sales(tx, wanted, cursor, AT_ONCE))  # type: ignore[misc] # bound per part
        yield page.rows
        cursor = page.next
        if cursor is None:
            return


def sums_of_sales(tx: Transaction, wanted: SalesFilter) -> Json:
    """Of the whole list: how many lines, and the sum of each column of amounts."""
    sums = tx.run(_filtered(_sums, wanted)).one()
    of_list = _filtered(select(attempts.c.order_no).select_from(_source), wanted)
    refunds = (
        select(func.coalesce(func.sum(ledger_entries.c.amount_fen), 0))
        .select_from(_with_entries)
        .where(ledger_entries.c.account == Account.REFUND.value, ledger_postings.c.order_no.in_(of_list))
    )
    found = {name: int(value) for name, value in sums._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name
    return found | {"refund_fen": int(tx.run(refunds).scalar_one())}


def _filtered(query: Select[Any], wanted: SalesFilter) -> Select[Any]:
    query = query.where(
        text(f"attempts.submitted_at IS NOT NULL AND {NOT_PROVEN_UNPAID.replace('proof', 'attempts.proof')}"),
        attempts.c.submitted_at >= wanted.since,
        attempts.c.submitted_at < wanted.until,
        purchases.c.state.in_([state.value for state in BOUGHT]),
    )
    return query if wanted.agent is None else query.where(purchases.c.agent == wanted.agent)


def _shown(row: Row[Any], refund_fen: int) -> Json:
    details = row.details
    tickets = row.tickets or []
    paid_at = row.submitted_at.astimezone(SHANGHAI)
    closure = None if row.closure is None else Closure(row.closure)
    seats = [seat_name(str(ticket["seat_type"])) for ticket in tickets]
    return {
        "order_no": row.order_no,
        "agent": row.agent,
        "ordered_at": shown(datetime.fromisoformat(details["ordered_at"])),
        "train_no": details["train_no"],
        "from": details["from"],
        "to": details["to"],
        "departure_at": shown(row.departure_at),
        "passengers": len(details["passengers"]),
        "order_state": order_state(closure, PurchaseState(row.state)).value,
        "fare_fen": row.fare_fen,
        "insurance_fen": details.get("insurance_fen") or 0,
        "bought_on": paid_at.date().isoformat(),
        "paid_fen": row.paid_fen,
        "pay_method": PAY_METHOD,
        "paid_at": shown(row.submitted_at),
        "trade_no": row.trade_no,
        "held_order_no": row.held_order_no,
        "account": row.login,
        "ticket_nos": [str(ticket["ticket_no"]) for ticket in tickets],
        "seats": [f"{seat}({seats.count(seat)})" for seat in dict.fromkeys(seats)],
        "partial_refund_fen": row.partial_refund_fen,
        "refund_fen": refund_fen,
        "unfrozen_fen": row.unfrozen_fen,
    }
