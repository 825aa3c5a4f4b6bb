"""Orders as people look for them: 订单列表 with its search fields, 快捷搜索 with its counts. Nothing here writes.

Which orders a quick search means stands here once: its count and its list are the same condition. What is open and has no ticket
is a small part of all orders that ever were, and has a partial index (MAY_WAIT); the counts read that part once, whatever they
count. A list finds the keys of a page first: from `orders_by_time` alone where that says enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Text, TextClause, and_, case, cast, func, or_, select, text, type_coerce, union
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import ColumnElement

from pipeline.states import LIVE, ORDER_STATE_OF, Closure, OrderState, PurchaseState, outcome_of
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.marks import mark
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import LATEST, LISTING, Json, as_listed
from pipeline.store.tables import (
    HAS_ITS_HOLD,
    HAS_REASON,
    IS_CLOSED,
    MAY_WAIT,
    REFUND_IS_OPEN,
    TO_STOP,
    agents,
    attempts,
    orders,
    purchases,
    ticket_numbers,
)
from pipeline.store.types import one_of

P = PurchaseState
Condition = ColumnElement[bool] | TextClause
DEPARTS_SOON: Final = timedelta(hours=24)
HOLD_ENDS_SOON: Final = timedelta(minutes=10)
BOUGHT: Final = (P.PURCHASED, P.SETTLED)
FAILED: Final = (P.HELD_UNPAID, P.PAID_ABNORMAL, P.NEVER_DEBITED)


class Quick(StrEnum):
    """快捷搜索."""

    PAID = "paid"  # paid, no ticket, open
    WAITING = "waiting"  # its purchase is under way
    PRESALE = "presale"  # of the first, those that depart beyond the presale days
    REFUND = "refund"  # its user asked for the money back, and was not answered yet
    ALL = "all"
    URGENT = "urgent"  # of the first, those that depart within 24 h or whose hold ends within 10 min
    FAILED = "failed"  # its latest purchase did not end with a ticket, and nobody has closed it


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What to look for; None looks for nothing. `state` names an order state or a purchase state; where a word is both, either
    fits. Spans of time are from (inclusive) and until (exclusive). `ticket_no`: a hold's or a ticket's number. `since`: of
    those that came since then."""

    agent: str | None = None
    state: str | None = None
    outcome: str | None = None
    reason: str | None = None
    limit: int | None = None
    quick: Quick | None = None
    order_no: str | None = None
    train_no: str | None = None
    from_station: str | None = None
    to_station: str | None = None
    departure_since: datetime | None = None
    departure_until: datetime | None = None
    ordered_since: datetime | None = None
    ordered_until: datetime | None = None
    contact: str | None = None
    phone: str | None = None
    ticket_no: str | None = None
    insurance_no: str | None = None
    appointment: str | None = None
    since: datetime | None = None
    presale_days: int = 20  # the setting PRESALE_DAYS


def list_orders(tx: Transaction, wanted: OrderFilter) -> list[Json]:
    """Orders with their latest purchase, last changed first."""
    query = LISTING.where(*_conditions(tx, wanted)).order_by(orders.c.updated_at.desc(), orders.c.order_no)
    return as_listed(tx, tx.rows(query if wanted.limit is None else query.limit(wanted.limit)))


def page_of_orders(tx: Transaction, wanted: OrderFilter, cursor: str | None = None, limit: int = PAGE) -> Page:
    """The same, newest order first, a page at a time. Raises BadCursor."""
    keys = select(orders.c.order_no, orders.c.created_at).where(*_conditions(tx, wanted))
    if _asks_for_purchases(wanted):
        keys = keys.select_from(orders.outerjoin(purchases, LATEST))
    by: list[ColumnElement[Any]] = [orders.c.created_at, orders.c.order_no]
    if _few(wanted):
        # Found first, sorted then: on the way through all orders by time a page of few is only full at the very end.
        found = keys.cte("found").prefix_with("MATERIALIZED")
        keys, by = select(found.c.order_no, found.c.created_at), [found.c.created_at, found.c.order_no]
    rows, following = fetch(tx, keys, by, cursor, limit)
    numbers = [row.order_no for row in rows]
    listed = {row["order_no"]: row for row in as_listed(tx, tx.rows(_of_page, {"keys": numbers}))} if rows else {}
    return Page([listed[number] for number in numbers], following)


def quick_counts(tx: Transaction, agent: str | None, presale_days: int) -> dict[str, int]:
    """How many orders each quick search finds; of one agent only, where one is named."""
    own = () if agent is None else (orders.c.agent == agent,)
    moment = now(tx)
    means = {quick: _quick(quick, moment, presale_days) for quick in _AMONG_OPEN}
    sums = [func.coalesce(func.sum(case((found, 1), else_=0)), 0).label(quick) for quick, found in means.items()]
    among = select(*sums).select_from(orders.outerjoin(purchases, LATEST)).where(text(MAY_WAIT), *own)
    counted = tx.run(among).mappings().one()
    refunds = select(func.count()).select_from(orders).where(_REFUND_ASKED, *own)
    every = select(func.count()).select_from(orders).where(*own)
    return {
        **{quick.value: int(counted[quick]) for quick in _AMONG_OPEN},
        Quick.REFUND.value: int(tx.run(refunds).scalar_one()),
        Quick.ALL.value: int(tx.run(every).scalar_one()),
    }


def agent_codes(tx: Transaction) -> list[str]:
    """Every agent there is, by name."""
    return [row.code for row in tx.rows(select(agents.c.code).order_by(agents.c.code))]


_of_page = LISTING.where(one_of(orders.c.order_no))
_AMONG_OPEN = (Quick.PAID, Quick.WAITING, Quick.PRESALE, Quick.URGENT, Quick.FAILED)
# What QueryOrders shows as APPLY_REFUND.
_REFUND_ASKED = and_(
    text(REFUND_IS_OPEN), or_(orders.c.closure.is_(None), orders.c.closure == Closure.TICKETED_OFFLINE.value)
)
_NO_TICKET = or_(purchases.c.state.is_(None), purchases.c.state.not_in([*BOUGHT, P.REFUNDED]))


def _latest_is(*states: PurchaseState) -> ColumnElement[bool]:
    return purchases.c.state.in_(sorted(state.value for state in states))


def _quick(quick: Quick, moment: datetime, presale_days: int) -> ColumnElement[bool]:
    """Of orders that MAY_WAIT: those that it means."""
    if quick is Quick.WAITING:
        return _latest_is(*LIVE)
    if quick is Quick.FAILED:
        return _latest_is(*FAILED)
    if quick is Quick.PRESALE:
        return and_(_NO_TICKET, orders.c.departure_at > moment + timedelta(days=presale_days))
    if quick is Quick.URGENT:
        departs = orders.c.departure_at.between(moment, moment + DEPARTS_SOON)
        ends = purchases.c.hold_deadline.between(moment, moment + HOLD_ENDS_SOON)
        return and_(_NO_TICKET, or_(departs, ends))
    return _NO_TICKET


def _few(wanted: OrderFilter) -> bool:
    """Whether what is looked for can be rare among all orders, and is found by another index than the one by time."""
    names = ("order_no", "ticket_no", "contact", "phone", "insurance_no", "reason")
    if any(getattr(wanted, name) is not None for name in names) or wanted.quick in (*_AMONG_OPEN[1:], Quick.REFUND):
        return True
    return wanted.state not in (None, *_MANY) or wanted.outcome not in (None, "purchased")


_MANY = (OrderState.PAID, OrderState.TICKETED, P.SETTLED)


def _asks_for_purchases(wanted: OrderFilter) -> bool:
    return bool(wanted.state or wanted.outcome or wanted.reason or wanted.quick in _AMONG_OPEN)


def _conditions(tx: Transaction, wanted: OrderFilter) -> list[Condition]:
    """For a statement over orders; over their latest purchases too, where `_asks_for_purchases`."""
    found: list[Condition] = [
        column == value
        for column, value in (
            (orders.c.agent, wanted.agent),
            (orders.c.order_no, wanted.order_no),
            (orders.c.from_station, wanted.from_station),
            (orders.c.to_station, wanted.to_station),
            (orders.c.appointment, wanted.appointment),
        )
        if value is not None
    ]
    for column, since, until in (
        (orders.c.departure_at, wanted.departure_since, wanted.departure_until),
        (orders.c.ordered_at, wanted.ordered_since, wanted.ordered_until),
        (orders.c.created_at, wanted.since, None),
    ):
        found += [] if since is None else [column >= since]
        found += [] if until is None else [column < until]
    for marked, path, value in (
        (orders.c.contact_mark, ("contact", "name"), wanted.contact),
        (orders.c.phone_mark, ("contact", "phone"), wanted.phone),
        (orders.c.insurance_mark, ("insurance_no",), wanted.insurance_no),
    ):
        found += [] if value is None else [marked == mark(value), _said(tx, path) == value]
    found += [] if wanted.train_no is None else [_goes_by(wanted.train_no)]
    found += [] if wanted.ticket_no is None else [_has_ticket(wanted.ticket_no)]
    return found + _standing(tx, wanted)


def _standing(tx: Transaction, wanted: OrderFilter) -> list[Condition]:
    """How the order and its latest purchase stand."""
    found: list[Condition] = []
    if wanted.quick in _AMONG_OPEN:
        found += [text(MAY_WAIT), _quick(wanted.quick, now(tx), wanted.presale_days)]
    elif wanted.quick is Quick.REFUND:
        found.append(_REFUND_ASKED)
    if wanted.state is not None:
        found += _in_state(wanted.state)
    if wanted.outcome is not None:
        states = [state for state in PurchaseState if outcome_of(state) == wanted.outcome]
        found += [_latest_is(*states), *([text(HAS_REASON)] if not {*states} & {*BOUGHT} else [])]
    if wanted.reason is not None:
        found += [purchases.c.reason == wanted.reason, text(HAS_REASON)]
    return found


def _in_state(state: str) -> list[Condition]:
    """With the predicate of the index that holds such orders."""
    if state == OrderState.PAID:
        return [text(MAY_WAIT), purchases.c.state.is_(None)]
    if state == OrderState.REFUNDED:
        return [or_(orders.c.closure == state, purchases.c.state == state)]  # a word of both
    if state in set(Closure):
        return [orders.c.closure == state, text(IS_CLOSED)]
    if state in set(OrderState):
        latest = [known for known, shows in ORDER_STATE_OF.items() if shows == state]
        is_open: Condition = orders.c.closure.is_(None) if state == OrderState.TICKETED else text(MAY_WAIT)
        return [is_open, _latest_is(*latest)]
    found: list[Condition] = [purchases.c.state == state]
    if state in FAILED:
        return [*found, text(HAS_REASON)]
    return [*found, text(MAY_WAIT)] if state in LIVE else found


def _said(tx: Transaction, path: tuple[str, ...]) -> ColumnElement[Any]:
    """A text of the order's details."""
    details = type_coerce(orders.c.details, Text)
    if tx.postgresql:
        return func.jsonb_extract_path_text(cast(details, JSONB), *path)
    return func.json_extract(details, f"$.{'.'.join(path)}")


def _goes_by(train_no: str) -> Condition:
    """The order's train, or one of several: T7/T8."""
    column = orders.c.train_no
    return or_(
        column == train_no,
        column.startswith(f"{train_no}/", autoescape=True),
        column.endswith(f"/{train_no}", autoescape=True),
        column.contains(f"/{train_no}/", autoescape=True),
    )


def _has_ticket(number: str) -> Condition:
    """By the hold of any of its purchases or attempts, or by a ticket of its CONFIRM."""
    held = [
        select(attempts.c.order_no).where(attempts.c.held_order_no == number, text(HAS_ITS_HOLD)),
        select(purchases.c.order_no).where(purchases.c.held_order_no == number, text(HAS_REASON)),
        select(purchases.c.order_no).where(purchases.c.held_order_no == number, text(TO_STOP)),
        select(ticket_numbers.c.order_no).where(ticket_numbers.c.ticket_no == number),
    ]
    return orders.c.order_no.in_(union(*held))


__all__ = ["OrderFilter", "Quick", "agent_codes", "list_orders", "page_of_orders", "quick_counts"]
