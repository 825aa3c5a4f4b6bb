"""/statistics 订单统计: orders, outcomes and amounts by day and agent. Agents see their own."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from pipeline.console.chart import days_chart
from pipeline.console.fields import Day, MaybeText
from pipeline.console.visit import Everybody, Visit
from pipeline.matching import SHANGHAI
from pipeline.operations_errors import Refused
from pipeline.store.clock import now
from pipeline.store.queries_statistics import statistics, summed

router = APIRouter()
USUAL_DAYS, MOST_DAYS = 30, 92


class Wanted(BaseModel):
    """Days in Shanghai, both included; without them the last 30. An agent's `agent` is always its own."""

    first: Day = None
    last: Day = None
    agent: MaybeText = None


class Sums(BaseModel):
    """Orders that came, by how their latest purchase ended (`open`: it has not, or there is none), and their amounts."""

    orders: int
    purchased: int
    held_unpaid: int
    paid_abnormal: int
    open: int
    fare_fen: int
    paid_fen: int
    unfrozen_fen: int
    partial_refund_fen: int


class DayOfAgent(Sums):
    day: str
    agent: str


class Statistics(BaseModel):
    first: str
    last: str
    rows: list[DayOfAgent]
    total: Sums


class Span(NamedTuple):
    first: date
    last: date


@router.get("/api/v1/statistics")
def read_statistics(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Statistics:
    """By day and agent, latest day first, at most 92 days at once; amounts in fen."""
    span, rows = _read(visit, wanted)
    (total,) = summed(rows)
    shown = {"first": span.first.isoformat(), "last": span.last.isoformat(), "rows": rows, "total": total}
    return Statistics.model_validate(shown)


@router.get("/statistics", include_in_schema=False)
def statistics_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    span, rows = _read(visit, wanted)
    days = summed(rows, "day")
    agents = sorted(summed(rows, "agent"), key=lambda one: -one["orders"])
    (total,) = summed(rows)
    chart = days_chart(span.first, span.last, days)
    shown: dict[str, Any] = {"days": days, "agents": agents, "total": total, "chart": chart}
    return visit.show("statistics.html", span=span, wanted=wanted, **shown)


def _read(visit: Visit, wanted: Wanted) -> tuple[Span, list[dict[str, Any]]]:
    """Raises Refused for a span that is none, or too long to be read at once."""
    today = visit.read(now).astimezone(SHANGHAI).date()
    last = wanted.last or today
    first = wanted.first or last - timedelta(days=USUAL_DAYS - 1)
    if first > last:
        raise Refused("bad_span", "起始日期在截止日期之后")
    if (last - first).days >= MOST_DAYS:
        raise Refused("long_span", f"一次最多统计 {MOST_DAYS} 天, 请缩短日期范围")
    agent = visit.agent or wanted.agent
    return Span(first, last), visit.read(lambda tx: statistics(tx, first, last, agent))
