"""`daifu orders`."""

from __future__ import annotations

import click

from pipeline.cli.context import query
from pipeline.cli.output import as_json, emit, fields, table
from pipeline.cli.resolving import abnormal, confirm, deny, resolve
from pipeline.operations_errors import NotFound
from pipeline.reasons import Outcome, Reason
from pipeline.states import OrderState, PurchaseState
from pipeline.store.queries import Json, OrderFilter, list_orders, show_order

STATES = sorted({*(state.value for state in OrderState), *(state.value for state in PurchaseState)})
COLUMNS = (
    "order_no", "agent", "order_state", "state", "reason", "generation", "held_order_no",
    "fare_fen", "price_fen", "paid_fen", "pay_status", "agent_told", "updated_at",
)  # fmt: skip


@click.group()
def orders() -> None:
    """Orders, how each stands, closing a 支付完成,出票异常."""


@orders.command("list")
@click.option("--agent", help="Of this agent only.")
@click.option("--state", type=click.Choice(STATES), help="An order state or a purchase state.")
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]))
@click.option("--reason", type=click.Choice([reason.value for reason in Reason]))
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, last changed first.")
@as_json
def list_(
    agent: str | None,
    state: str | None,
    outcome: str | None,
    reason: str | None,
    limit: int | None,
    *,
    json_: bool,
) -> None:
    """Orders with their latest purchase, last changed first."""
    wanted = OrderFilter(agent, state, outcome, reason, limit)
    rows = query(lambda tx: list_orders(tx, wanted))
    emit(rows, json_=json_, human=lambda: table(rows, COLUMNS))


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
    parts = ("attempts", "postings", "callbacks", "story")
    columns = {
        "attempts": ("id", "held_order_no", "submitted_at", "concluded_at", "amount_fen", "proof"),
        "postings": ("at", "kind", "from", "to", "amount_fen"),
        "callbacks": ("at", "pay_status", "answer"),
        "story": ("at", "what", "actor", "detail"),
    }
    head = fields({name: value for name, value in order.items() if name not in parts})
    return "\n\n".join([head, *(f"{part}\n{table(order[part], columns[part])}" for part in parts)])


for _command in (resolve, abnormal, confirm, deny):
    orders.add_command(_command)
