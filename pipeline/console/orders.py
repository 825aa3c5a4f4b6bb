"""/orders 订单列表 and /orders/{order_no} 订单查看, with their API. Agents see their own orders only."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from pipeline.console.fields import MaybeText, Text
from pipeline.console.order_models import Order, OrderRow, Orders
from pipeline.console.problems import Missing
from pipeline.console.visit import Everybody, Visit
from pipeline.store.pages import Page
from pipeline.store.queries import OrderFilter, page_of_orders, show_order
from pipeline.store.queries_controls import pauses_on

router = APIRouter()


class Wanted(BaseModel):
    """What to look for; empty fields look for nothing. An agent's `agent` is always its own."""

    agent: MaybeText = None
    state: MaybeText = None
    outcome: MaybeText = None
    reason: MaybeText = None
    cursor: MaybeText = None


@router.get("/api/v1/orders")
def list_orders(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Orders:
    """Orders with their latest purchase, newest first, a page at a time."""
    page = _page(visit, wanted)
    return Orders(rows=[OrderRow.model_validate(row) for row in page.rows], next=page.next)


@router.get("/api/v1/orders/{order_no}")
def read_order(visit: Everybody, order_no: Text) -> Order:
    """One order: its row, attempts, postings, callbacks and story. Another agent's is not found."""
    return Order.model_validate(_order(visit, order_no))


@router.get("/orders", include_in_schema=False)
def orders_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    return visit.show("orders.html", page=_page(visit, wanted), wanted=wanted)


@router.get("/orders/{order_no}", include_in_schema=False)
def order_page(visit: Everybody, order_no: Text) -> Response:
    order = _order(visit, order_no)
    return visit.show("order.html", order=order, pauses=visit.read(lambda tx: pauses_on(tx, order_no)))


def _page(visit: Visit, wanted: Wanted) -> Page:
    agent = visit.agent or wanted.agent
    found = OrderFilter(agent=agent, state=wanted.state, outcome=wanted.outcome, reason=wanted.reason)
    return visit.read(lambda tx: page_of_orders(tx, found, wanted.cursor))


def _order(visit: Visit, order_no: str) -> dict[str, Any]:
    order = visit.read(lambda tx: show_order(tx, order_no))
    if order is None or visit.agent not in (None, order["agent"]):
        raise Missing(f"没有订单 {order_no}")
    return order
