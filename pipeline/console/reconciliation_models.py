"""Reconciliation as the JSON API gives it; amounts in fen, times RFC 3339 in Asia/Shanghai."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from pipeline.console.fields import MaybeText
from pipeline.console.overview_models import InFlight


class Wanted(BaseModel):
    """`owner`: a name, `me`, or `-` for what nobody has taken. Without `state`: open ones. An agent's `agent` is always its own."""

    state: Literal["", "open", "closed", "all"] = "open"
    kind: MaybeText = None
    owner: MaybeText = None
    agent: MaybeText = None
    order_no: MaybeText = None
    cursor: MaybeText = None


class Line(BaseModel):
    """A bill's line: `trade_no` is the merchant's order number, `alipay_no` Alipay's own."""

    line_no: int
    at: str
    kind: str
    amount_fen: int
    alipay_no: str
    trade_no: str
    words: str
    state: str
    order_no: str | None
    break_id: int | None


class Lines(BaseModel):
    rows: list[Line]
    next: str | None


class LineOfBreak(BaseModel):
    bill_id: int
    line_no: int
    kind: str
    at: str
    trade_no: str
    alipay_no: str
    words: str


class Break(BaseModel):
    """What does not agree: `kind` is only_there, only_here or differs; `here_fen` and `there_fen` what each side says. Its owner, its closing
    and what it was closed with are its task's (`task_id`)."""

    id: int
    kind: str
    task_id: int
    order_no: str | None
    agent: str | None
    refund_id: str | None
    trade_no: str | None
    held_order_no: str | None
    submitted_at: str | None
    here_fen: int | None
    there_fen: int | None
    line: LineOfBreak | None
    moved_at: str
    reason: str
    note: str
    opened_at: str
    taken_by: str | None
    closed_by: str | None
    closed_at: str | None
    resolution: str | None
    evidence: str | None


class Breaks(BaseModel):
    rows: list[Break]
    next: str | None


class OpenBreaks(BaseModel):
    kind: str
    breaks: int
    amount_fen: int
    oldest_at: str | None


class Flying(BaseModel):
    """A payment whose outcome is open. `on_bill`: a bill shows that money moved."""

    order_no: str
    agent: str
    state: str
    held_order_no: str
    trade_no: str
    amount_fen: int
    submitted_at: str
    on_bill: bool


class Reconciliation(BaseModel):
    open: list[OpenBreaks]
    in_flight: InFlight
    oldest: list[Flying]


class Bill(BaseModel):
    """`known_before`: lines that an earlier bill had; the others by how they agree. `compared_at`: null while its upload is under way."""

    id: int
    name: str
    layout: str
    account: str
    begins_at: str
    ends_at: str
    lines: int
    paid_fen: int
    refund_fen: int
    known_before: int
    matched: int
    in_flight: int
    differs: int
    unmatched: int
    other: int
    uploaded_at: str
    uploaded_by: str
    compared_at: str | None


class Bills(BaseModel):
    rows: list[Bill]
    next: str | None


class Uploaded(BaseModel):
    """`known`: the same file was compared before. `new_lines`: what no earlier bill had."""

    bill_id: int
    known: bool
    lines: int
    new_lines: int
    new_breaks: int
