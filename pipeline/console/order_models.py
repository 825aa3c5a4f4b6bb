"""Orders as the JSON API gives them: the fields of INTERFACES section 6."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class OrderRow(BaseModel):
    """One order with its latest purchase; amounts in fen, times RFC 3339 in Asia/Shanghai."""

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


class Order(OrderRow):
    attempts: list[Attempt]
    postings: list[Posting]
    callbacks: list[Callback]
    story: list[Line]
