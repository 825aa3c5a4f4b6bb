"""/orders/{order_no} 订单查看, with its API; 回填 and importing again where the purchase did not pay."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form
from pydantic import BaseModel
from pydantic import Field as Sized
from starlette.responses import Response

from pipeline import operations
from pipeline.console.fields import Text, Yuan, fen_of
from pipeline.console.order_models import Agreed, Filled, Order
from pipeline.console.problems import Missing
from pipeline.console.visit import Everybody, Visit
from pipeline.operations_errors import Refused
from pipeline.store.queries import show_order
from pipeline.store.queries_controls import pauses_on
from schemas.codes import SEAT_NAMES
from schemas.fields import Code, HoldNo, Name
from schemas.orders import Ticket

router = APIRouter()

Several = Sized(max_length=50)


class FilledForm(BaseModel):
    """The same number of each: one ticket per passenger, in the order of the page."""

    ticket_no: Annotated[list[HoldNo], Several] = []
    seat: Annotated[list[Code], Several] = []
    seat_no: Annotated[list[Name], Several] = []
    price: Annotated[list[Yuan], Several] = []
    passenger: Annotated[list[Name], Several] = []

    def tickets(self) -> list[Ticket]:
        """Raises Refused."""
        columns = (self.ticket_no, self.seat, self.seat_no, self.price, self.passenger)
        if len({len(column) for column in columns}) > 1:
            raise Refused("tickets_incomplete", "每张票都需要车票号、坐席、座位号和票价")
        return [
            Ticket(ticket_no=number, seat_type=seat, seat_no=seat_no, price_fen=fen_of(price), passenger_name=name)
            for number, seat, seat_no, price, name in zip(*columns, strict=True)
        ]


@router.get("/api/v1/orders/{order_no}")
def read_order(visit: Everybody, order_no: Text) -> Order:
    """One order: all that AM said of it, its payment and tickets, attempts, postings, callbacks and story. Another agent's is
    not found."""
    return Order.model_validate(_order(visit, order_no))


@router.post("/api/v1/orders/{order_no}/tickets")
def fill_in(visit: Everybody, order_no: Text, filled: Filled) -> Order:
    """回填: the agent bought the tickets on 12306 itself; what its program would say by CONFIRM."""
    _fill_in(visit, order_no, filled.tickets)
    return Order.model_validate(_order(visit, order_no))


@router.post("/api/v1/orders/{order_no}/import")
def import_again(visit: Everybody, order_no: Text, how: Agreed) -> Order:
    """Ask to pay for the held order once more, with the stored password."""
    _import_again(visit, order_no, how.agreed)
    return Order.model_validate(_order(visit, order_no))


@router.get("/orders/{order_no}", include_in_schema=False)
def order_page(visit: Everybody, order_no: Text) -> Response:
    return visit.show(
        "order.html",
        order=_order(visit, order_no),
        offer=visit.read(lambda tx: operations.offer(tx, order_no, visit.desk.replay_rules)),
        pauses=visit.read(lambda tx: pauses_on(tx, order_no)),
        seats=SEAT_NAMES,
    )


@router.post("/orders/{order_no}/tickets", include_in_schema=False)
def fill_in_form(visit: Everybody, order_no: Text, form: Annotated[FilledForm, Form()]) -> Response:
    _fill_in(visit, order_no, form.tickets())
    return visit.go(f"/orders/{order_no}", "已回填: 订单按线下出票处理, 发车后解冻")


@router.post("/orders/{order_no}/import", include_in_schema=False)
def import_again_form(visit: Everybody, order_no: Text, form: Annotated[Agreed, Form()]) -> Response:
    generation = _import_again(visit, order_no, form.agreed)
    return visit.go(f"/orders/{order_no}", f"已重新导入: 第 {generation} 次代付开始")


def _order(visit: Visit, order_no: str) -> dict[str, Any]:
    order = visit.read(lambda tx: show_order(tx, order_no))
    if order is None or visit.agent not in (None, order["agent"]):
        raise Missing(f"没有订单 {order_no}")
    return order


def _fill_in(visit: Visit, order_no: str, tickets: list[Ticket]) -> None:
    visit.write(lambda tx: operations.fill_in(tx, order_no, tickets, visit.actor, of_agent=visit.agent))


def _import_again(visit: Visit, order_no: str, agreed: str | None) -> int:
    rules = visit.desk.replay_rules
    return visit.write(
        lambda tx: operations.import_again(tx, order_no, visit.actor, rules, agreed=agreed, of_agent=visit.agent)
    )
