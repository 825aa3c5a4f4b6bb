"""Orders as the JSON API gives them: the fields of INTERFACES section 6."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from pipeline.console.fields import MaybeText
from schemas.orders import Ticket


class OrderRow(BaseModel):
    """One order with its latest purchase; amounts in fen, times RFC 3339 in Asia/Shanghai. `seat`: what was asked for, `seats`: how
    many."""

    order_no: str
    agent: str
    order_state: str
    state: str | None
    outcome: str | None
    reason: str | None
    generation: int
    account: str | None
    held_order_no: str | None
    fare_fen: int
    price_fen: int | None
    paid_fen: int
    unfrozen_fen: int
    partial_refund_fen: int
    refund_fen: int
    pay_status: str | None
    agent_told: bool
    deadline: str | None
    stop_at: str | None
    updated_at: str
    departure_at: str
    ordered_at: str | None
    train_no: str | None
    from_station: str | None
    to_station: str | None
    contact_name: str
    seat: str | None
    seats: int


class QuickCounts(BaseModel):
    """快捷搜索: how many orders each finds."""

    paid: int
    waiting: int
    presale: int
    refund: int
    all: int
    urgent: int
    failed: int


class Orders(BaseModel):
    """A page; `next` is the cursor of the page after it."""

    rows: list[OrderRow]
    next: str | None


class Attempt(BaseModel):
    id: str
    held_order_no: str | None
    opened_at: str
    submitted_at: str | None
    concluded_at: str | None
    amount_fen: int | None
    proof: str | None
    debited_fen: int | None
    trade_no: str | None
    detail: str | None


class Posting(BaseModel):
    at: str
    kind: str
    from_: str = Field(alias="from")
    to: str
    amount_fen: int


class Callback(BaseModel):
    at: str
    pay_status: str
    answer: str
    status: int | None
    delivered: bool


class Line(BaseModel):
    """One line of the order's story."""

    at: str
    what: str
    detail: dict[str, Any]
    actor: str


class Passenger(BaseModel):
    """`id_no` is masked; `seat_no`: where 12306 put this person, empty until it is known."""

    name: str
    id_type: str
    id_no: str
    ticket_type: str
    seat_no: str


class IssuedTicket(BaseModel):
    ticket_no: str
    seat: str
    seat_no: str
    price_fen: int
    passenger_name: str
    seq: str


class Order(OrderRow):
    """`contact_*` are masked. `pay_*`: the payment on 12306 that moved money, or may have; `closed_because`: AM's words for an
    order without a ticket; `ticket_numbers`, `issued_seats`: as the page shows them."""

    trip: str | None
    fallback_seats: list[str]
    passengers: list[Passenger]
    contact_phone: str
    contact_email: str
    insurance_fen: int
    insurance_no: str | None
    total_fen: int
    appointment: str | None
    source: str | None
    tickets: list[IssuedTicket]
    ticket_numbers: str
    issued_seats: str
    paid_at: str
    pay_at: str | None
    pay_fen: int | None
    pay_method: str | None
    closed_because: str
    refund_requested_at: str | None
    refund_closed_at: str | None
    detail: str
    attempts: list[Attempt]
    postings: list[Posting]
    callbacks: list[Callback]
    story: list[Line]


class Filled(BaseModel):
    """The tickets that were bought, one for each passenger."""

    tickets: Annotated[list[Ticket], Field(max_length=50)] = []


class Agreed(BaseModel):
    """`agreed`: who of the agent agreed, and when; needed of staff where the agent was told that the purchase failed."""

    agreed: MaybeText = None
