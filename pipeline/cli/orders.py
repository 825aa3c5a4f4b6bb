"""`daifu orders`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from pipeline.cli.context import Moment, query, read_settings
from pipeline.cli.order_acts import fill_in, import_
from pipeline.cli.output import as_json, emit, fields, table
from pipeline.cli.resolving import abnormal, confirm, deny, resolve
from pipeline.matching import SHANGHAI
from pipeline.operations_errors import NotFound
from pipeline.reasons import Outcome, Reason
from pipeline.states import OrderState, PurchaseState
from pipeline.store.queries import Json, show_order
from pipeline.store.queries_orders import OrderFilter, Quick, list_orders, quick_counts

STATES = sorted({*(state.value for state in OrderState), *(state.value for state in PurchaseState)})
DAY = click.DateTime(["%Y-%m-%d"])
COLUMNS = (
    "order_no", "agent", "order_state", "state", "reason", "generation", "held_order_no",
    "fare_fen", "price_fen", "paid_fen", "pay_status", "agent_told", "updated_at",
)  # fmt: skip


@click.group()
def orders() -> None:
    """Orders, how each stands, 回填, importing again, closing a 支付完成,出票异常."""


@orders.command("list")
@click.option("--agent", help="Of this agent only.")
@click.option(
    "--quick", type=click.Choice([quick.value for quick in Quick]), help="快捷搜索; see `daifu orders quick`."
)
@click.option("--state", type=click.Choice(STATES), help="An order state or a purchase state.")
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]))
@click.option("--reason", type=click.Choice([reason.value for reason in Reason]))
@click.option("--departs", type=DAY, metavar="DATE", help="发车日期.")
@click.option("--ordered", type=DAY, metavar="DATE", help="预订日期.")
@click.option("--train", "train_no", help="车次.")
@click.option("--from", "from_station", help="出发站.")
@click.option("--to", "to_station", help="到达站.")
@click.option("--contact", help="联系人.")
@click.option("--phone", help="联系人手机.")
@click.option("--ticket", "ticket_no", help="车票号, or a 12306 order number.")
@click.option("--insurance", "insurance_no", help="保险号.")
@click.option("--appointment", help="预约状态, in AM's words; 是 or 否 where it says only whether.")
@click.option("--since", type=Moment(), metavar="TIME", help="查询范围: of the orders that came since then.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, last changed first.")
@as_json
def list_(departs: datetime | None, ordered: datetime | None, *, json_: bool, **wanted: Any) -> None:
    """Orders with their latest purchase, last changed first."""
    settings = read_settings()
    quick = wanted.pop("quick")
    departing, booked = _day(departs), _day(ordered)
    found = OrderFilter(
        **wanted,
        quick=None if quick is None else Quick(quick),
        departure_since=departing[0],
        departure_until=departing[1],
        ordered_since=booked[0],
        ordered_until=booked[1],
        presale_days=settings.presale_days,
    )
    rows = query(lambda tx: list_orders(tx, found), settings)
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


def _day(day: datetime | None) -> tuple[datetime | None, datetime | None]:
    """From midnight to midnight in Shanghai."""
    if day is None:
        return None, None
    midnight = day.replace(tzinfo=SHANGHAI).astimezone(UTC)
    return midnight, midnight + timedelta(days=1)


@orders.command("quick")
@click.option("--agent", help="Of this agent only.")
@as_json
def quick(agent: str | None, *, json_: bool) -> None:
    """快捷搜索: how many orders each finds."""
    settings = read_settings()
    counts = query(lambda tx: quick_counts(tx, agent, settings.presale_days), settings)
    emit(counts, json_=json_, human=lambda: fields(counts))


@orders.command("show")
@click.argument("order_no")
@as_json
def show(order_no: str, *, json_: bool) -> None:
    """One order: attempts, postings, callbacks and story."""
    order = query(lambda tx: show_order(tx, order_no))
    if order is None:
        raise NotFound(f"no order {order_no}: see `daifu orders list`")
    emit(order, json_=json_, human=lambda: _human(order))


def _human(order: Json) -> str:
    parts = ("passengers", "tickets", "attempts", "postings", "callbacks", "story")
    columns = {
        "passengers": ("name", "id_type", "id_no", "ticket_type", "seat_no"),
        "tickets": ("ticket_no", "seat", "seat_no", "price_fen", "passenger_name"),
        "attempts": ("id", "held_order_no", "submitted_at", "concluded_at", "amount_fen", "proof"),
        "postings": ("at", "kind", "from", "to", "amount_fen"),
        "callbacks": ("at", "pay_status", "answer"),
        "story": ("at", "what", "actor", "detail"),
    }
    head = fields({name: value for name, value in order.items() if name not in parts})
    return "\n\n".join([head, *(f"{part}\n{table(order[part], columns[part])}" for part in parts)])


for _command in (fill_in, import_, resolve, abnormal, confirm, deny):
    orders.add_command(_command)
