"""`daifu orders fill-in` and `daifu orders import`: what people do where the purchase did not pay."""

from __future__ import annotations

from typing import BinaryIO

import click
from pydantic import TypeAdapter, ValidationError

from pipeline import operations
from pipeline.cli.context import acting, read_settings, write
from pipeline.cli.output import as_json, emit
from schemas.orders import Ticket
from schemas.problems import problems_of

_TICKETS: TypeAdapter[list[Ticket]] = TypeAdapter(list[Ticket])


@click.command("fill-in")
@click.argument("order_no")
@click.argument("tickets", type=click.File("rb"), metavar="FILE|-")
@as_json
@acting
def fill_in(order_no: str, tickets: BinaryIO, *, json_: bool, actor: str) -> None:
    """回填: the agent paid on 12306 itself. FILE is a JSON array with a ticket for each passenger:
    {ticket_no, seat_type, seat_no, price_fen, passenger_name}."""
    try:
        filled = _TICKETS.validate_json(tickets.read())
    except ValidationError as error:
        wrong = "; ".join(f"{problem.field}: {problem.reason}" for problem in problems_of(error))
        raise click.UsageError(f"tickets: {wrong}") from None
    write(lambda tx: operations.fill_in(tx, order_no, filled, actor))
    done = {"order_no": order_no, "order_state": "ticketed_offline", "tickets": len(filled)}
    emit(done, json_=json_, human=lambda: f"{order_no}: ticketed offline, {len(filled)} tickets")


@click.command("import")
@click.argument("order_no")
@click.option("--agreed", metavar="TEXT", help="Who of the agent agreed, where payStatus 2 was delivered before.")
@as_json
@acting
def import_(order_no: str, agreed: str | None, *, json_: bool, actor: str) -> None:
    """Ask to pay for a 占座成功未支付 once more, with the stored password, under the guards of a replay."""
    settings = read_settings()
    rules = operations.rules_of(settings, None)
    generation = write(lambda tx: operations.import_again(tx, order_no, actor, rules, agreed=agreed), settings)
    done = {"order_no": order_no, "generation": generation}
    emit(done, json_=json_, human=lambda: f"{order_no}: generation {generation} was accepted")
