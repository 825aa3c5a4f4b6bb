"""/reports/sales 销售明细报表: what was bought, day by day, with its sums; as a page, CSV, XLSX and JSON. Agents see their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from pipeline.console import words
from pipeline.console.exports import Column, csv_file, xlsx_file
from pipeline.console.fields import Day, MaybeText, begins, days_of, ends
from pipeline.console.rendering import word
from pipeline.console.visit import Everybody, Visit
from pipeline.store.clock import now
from pipeline.store.pages import Page
from pipeline.store.queries_funds import agent_codes
from pipeline.store.queries_sales import SalesFilter, every_sale, page_of_sales, sums_of_sales

router = APIRouter()
DAYS = 7  # shown when nobody says since when


class Wanted(BaseModel):
    """`since` and `until` are days of the payment in Asia/Shanghai, both included; the last 7 days without them. An agent's `agent` is
    always its own."""

    since: Day = None
    until: Day = None
    agent: MaybeText = None
    cursor: MaybeText = None


class Sale(BaseModel):
    """One payment that bought, or may have bought, an order's tickets. Amounts in fen: `paid_fen` 采购金额, `partial_refund_fen` 部分退款
    to the user, `refund_fen` what 12306 gave back, `unfrozen_fen` what the agent got. `bought_on` 采购日期: the day of `paid_at`."""

    order_no: str
    agent: str
    ordered_at: str
    train_no: str
    from_: str = Field(alias="from")
    to: str
    departure_at: str
    passengers: int
    order_state: str
    fare_fen: int
    insurance_fen: int
    bought_on: str
    paid_fen: int
    pay_method: str
    paid_at: str
    trade_no: str
    held_order_no: str
    account: str
    ticket_nos: list[str]
    seats: list[str]
    partial_refund_fen: int
    refund_fen: int
    unfrozen_fen: int


class Sums(BaseModel):
    rows: int
    fare_fen: int
    paid_fen: int
    partial_refund_fen: int
    refund_fen: int
    unfrozen_fen: int


class Sales(BaseModel):
    """A page; `sums` are those of all pages."""

    rows: list[Sale]
    next: str | None
    sums: Sums


def _local(name: str) -> Any:
    """A time as `2014-11-17 21:02:00` in Asia/Shanghai."""
    return lambda row: row[name][:19].replace("T", " ")


def _plain(name: str) -> Any:
    return lambda row: row[name]


def _money(title: str, name: str) -> Column:
    return Column(title, lambda row: row[name], money=True, width=11)


COLUMNS: Sequence[Column] = (
    Column("订单号", _plain("order_no"), width=24),
    Column("代理商", _plain("agent")),
    Column("订单日期", _local("ordered_at"), width=19),
    Column("车次", _plain("train_no"), width=8),
    Column("出发-到达", lambda row: f"{row['from']}-{row['to']}", width=18),
    Column("乘车日期", _local("departure_at"), width=19),
    Column("坐席数量", _plain("passengers"), width=9),
    Column("状态", lambda row: word(row["order_state"], words.ORDER_STATES), width=10),
    _money("车票费", "fare_fen"),
    _money("保险费用", "insurance_fen"),
    Column("采购日期", _plain("bought_on"), width=11),
    _money("采购金额", "paid_fen"),
    Column("支付方式", _plain("pay_method"), width=9),
    Column("支付时间", _local("paid_at"), width=19),
    Column("交易号", _plain("trade_no"), width=20),
    Column("12306订单号", _plain("held_order_no"), width=20),
    Column("登录账号", _plain("account"), width=20),
    Column("火车票号", lambda row: " / ".join(row["ticket_nos"]), width=24),
    Column("实际出票坐席", lambda row: " ".join(row["seats"]), width=20),
    _money("部分退款", "partial_refund_fen"),
    _money("退款", "refund_fen"),
    _money("解冻", "unfrozen_fen"),
)


@router.get("/api/v1/reports/sales")
def read_sales(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Sales:
    """Oldest payment first, a page at a time, with the sums of the whole list."""
    found = _filter(visit, wanted)
    page = visit.read(lambda tx: page_of_sales(tx, found, wanted.cursor))
    return Sales.model_validate(
        {"rows": page.rows, "next": page.next, "sums": visit.read(lambda tx: sums_of_sales(tx, found))}
    )


@router.get("/reports/sales.csv", include_in_schema=False)
def sales_csv(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> StreamingResponse:
    """The whole list, as it is read."""
    found = _filter(visit, wanted)
    return csv_file(_name(found), COLUMNS, every_sale(visit.read, found))


@router.get("/reports/sales.xlsx", include_in_schema=False)
def sales_xlsx(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> StreamingResponse:
    found = _filter(visit, wanted)
    return xlsx_file(_name(found), COLUMNS, every_sale(visit.read, found), visit.desk.workbook_turn)


@router.get("/reports/sales", include_in_schema=False)
def sales_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    found = _filter(visit, wanted)
    page: Page = visit.read(lambda tx: page_of_sales(tx, found, wanted.cursor))
    shown = Wanted(since=found.since.date(), until=_last_day(found), agent=wanted.agent, cursor=wanted.cursor)
    agents: Mapping[str, str] = {} if visit.agent else {code: code for code in visit.read(agent_codes)}
    sums = visit.read(lambda tx: sums_of_sales(tx, found))
    return visit.show("sales.html", page=page, wanted=shown, sums=sums, agents=agents)


def _filter(visit: Visit, wanted: Wanted) -> SalesFilter:
    since, until = days_of(wanted.since, wanted.until, visit.read(now), DAYS)
    return SalesFilter(begins(since), ends(until), visit.agent or wanted.agent)


def _last_day(found: SalesFilter) -> Any:
    return (found.until - timedelta(days=1)).date()


def _name(found: SalesFilter) -> str:
    return f"销售明细-{found.agent or '全部'}-{found.since.date()}-{_last_day(found)}"
