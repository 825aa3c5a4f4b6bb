"""/orders 订单列表 with its search fields and 快捷搜索, and their API. Agents see their own orders only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator
from starlette.responses import Response

from pipeline.console.fields import Day, MaybeText, day_of, none_if_empty
from pipeline.console.order_models import OrderRow, Orders, QuickCounts
from pipeline.console.visit import Everybody, Visit
from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.pages import Page
from pipeline.store.queries_orders import OrderFilter, Quick, agent_codes, page_of_orders, quick_counts

router = APIRouter()

Scope = Literal["week", "month", "quarter"]
DAYS: Mapping[Scope, int] = {"week": 7, "month": 30, "quarter": 90}


class Wanted(BaseModel):
    """What to look for; empty fields look for nothing. An agent's `agent` is always its own. `ticket_no`: a 12306 order's or a
    ticket's number; `scope`: of the orders that came within so long."""

    agent: MaybeText = None
    quick: Annotated[Quick | None, BeforeValidator(none_if_empty)] = None
    state: MaybeText = None
    outcome: MaybeText = None
    reason: MaybeText = None
    order_no: MaybeText = None
    departure_date: Day = None
    train_no: MaybeText = None
    order_date: Day = None
    phone: MaybeText = None
    from_station: MaybeText = None
    to_station: MaybeText = None
    contact: MaybeText = None
    ticket_no: MaybeText = None
    insurance_no: MaybeText = None
    appointment: MaybeText = None
    scope: Annotated[Scope | None, BeforeValidator(none_if_empty)] = None
    cursor: MaybeText = None

    def filter(self, visit: Visit, tx: Transaction) -> OrderFilter:
        departs, ordered = day_of(self.departure_date), day_of(self.order_date)
        return OrderFilter(
            agent=visit.agent or self.agent,
            quick=self.quick,
            state=self.state,
            outcome=self.outcome,
            reason=self.reason,
            order_no=self.order_no,
            departure_since=departs[0],
            departure_until=departs[1],
            train_no=None if self.train_no is None else self.train_no.upper(),
            ordered_since=ordered[0],
            ordered_until=ordered[1],
            phone=self.phone,
            from_station=self.from_station,
            to_station=self.to_station,
            contact=self.contact,
            ticket_no=None if self.ticket_no is None else self.ticket_no.upper(),
            insurance_no=self.insurance_no,
            appointment=self.appointment,
            presale_days=visit.desk.settings.presale_days,
            since=None if self.scope is None else now(tx) - timedelta(days=DAYS[self.scope]),
        )


@router.get("/api/v1/orders")
def list_orders(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Orders:
    """Orders with their latest purchase, newest first, a page at a time."""
    page = _page(visit, wanted)
    return Orders(rows=[OrderRow.model_validate(row) for row in page.rows], next=page.next)


@router.get("/api/v1/orders/quick")
def count_quick(visit: Everybody, agent: MaybeText = None) -> QuickCounts:
    """How many orders each quick search finds now; an agent's are its own."""
    return QuickCounts.model_validate(_counts(visit, agent))


@router.get("/orders", include_in_schema=False)
def orders_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    return visit.show(
        "orders.html",
        page=_page(visit, wanted),
        wanted=wanted,
        counts=_counts(visit, wanted.agent),
        agents={} if visit.agent else {code: code for code in visit.read(agent_codes)},
    )


def _page(visit: Visit, wanted: Wanted) -> Page:
    return visit.read(lambda tx: page_of_orders(tx, wanted.filter(visit, tx), wanted.cursor))


def _counts(visit: Visit, agent: str | None) -> dict[str, int]:
    days = visit.desk.settings.presale_days
    return visit.read(lambda tx: quick_counts(tx, visit.agent or agent, days))
