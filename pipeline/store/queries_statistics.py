"""订单统计: orders, how their latest purchase ended, and amounts, by the day an order came and by agent.

Only the orders of the days asked for are read, by `orders_by_agent`: the agents are found first, by steps through that index,
so that a range over all of them is one short range each. A day is a day in Shanghai.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, and_, bindparam, func, select, type_coerce

from pipeline.matching import SHANGHAI
from pipeline.reasons import Outcome
from pipeline.states import PurchaseState, outcome_of
from pipeline.store.engine import Transaction
from pipeline.store.queries import Json
from pipeline.store.tables import orders, purchases
from pipeline.store.types import EPOCH, Instant, one_of, seconds_us

DAY_US: Final = seconds_us(86_400)
AHEAD_US: Final = seconds_us(SHANGHAI.utcoffset(None).total_seconds())
OPEN: Final = "open"  # no outcome yet: not asked to pay, or still being paid
AMOUNTS: Final = ("fare_fen", "paid_fen", "unfrozen_fen", "partial_refund_fen")
COUNTS: Final = ("orders", *Outcome, OPEN)

_first = select(func.min(orders.c.agent).label("agent")).cte("codes", recursive=True)
_next = select(func.min(orders.c.agent)).where(orders.c.agent > _first.c.agent).correlate(_first).scalar_subquery()
_codes = _first.union_all(select(_next).where(_first.c.agent.is_not(None)))
_agents = select(_codes.c.agent).where(_codes.c.agent.is_not(None))
_day = ((type_coerce(orders.c.created_at, BigInteger()) + AHEAD_US) // DAY_US).label("day")
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_sums = (
    select(
        _day,
        orders.c.agent,
        purchases.c.state,
        func.count().label("n"),
        func.sum(orders.c.fare_fen).label("fare_fen"),
        *(func.coalesce(func.sum(purchases.c[name]), 0).label(name) for name in AMOUNTS[1:]),
    )
    .select_from(orders.outerjoin(purchases, _latest))
    .where(
        one_of(orders.c.agent),
        orders.c.created_at >= bindparam("since", type_=Instant()),
        orders.c.created_at < bindparam("until", type_=Instant()),
    )
    .group_by(_day, orders.c.agent, purchases.c.state)
)


def statistics(tx: Transaction, first: date, last: date, agent: str | None = None) -> list[Json]:
    """One row for each day and agent with orders, latest day first; amounts in fen. `last` is included."""
    codes = [agent] if agent is not None else [row.agent for row in tx.rows(_agents)]
    given = {"keys": codes, "since": _begin(first), "until": _begin(last + timedelta(days=1))}
    found: dict[tuple[int, str], Json] = {}
    for row in tx.rows(_sums, given):
        into = found.setdefault(
            (int(row.day), row.agent), _nothing() | {"day": _date(int(row.day)), "agent": row.agent}
        )
        outcome = None if row.state is None else outcome_of(PurchaseState(row.state))
        into["orders"] += int(row.n)
        into[OPEN if outcome is None else outcome.value] += int(row.n)
        for name in AMOUNTS:
            into[name] += int(getattr(row, name))
    return [found[key] for key in sorted(found, key=lambda key: (-key[0], key[1]))]


def summed(rows: Iterable[Json], by: str | None = None) -> list[Json]:
    """Those rows added up by `day` or by `agent`, in the order they come; None: all of them, one row."""
    found: dict[Any, Json] = {} if by is not None else {None: _nothing()}
    for row in rows:
        key = None if by is None else row[by]
        into = found.setdefault(key, _nothing() if by is None else _nothing() | {by: key})
        for name in (*COUNTS, *AMOUNTS):
            into[name] += row[name]
    return list(found.values())


def _nothing() -> Json:
    return {str(name): 0 for name in (*COUNTS, *AMOUNTS)}


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), SHANGHAI)


def _date(day: int) -> str:
    return (EPOCH + timedelta(days=day)).date().isoformat()
