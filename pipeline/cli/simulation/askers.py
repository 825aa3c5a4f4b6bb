"""What agents and AM ask for, by queue or over HTTP: the first request, and all that comes between its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from pipeline.agent_asks import AgentAsk, DeskUnavailable
from pipeline.cli.simulation.customers import Customer
from pipeline.cli.simulation.trips import PRICE_FEN, ticket
from pipeline.requests import RequestKind
from schemas.am_messages import AmData, Confirmed, NoTicket, RefundArrived, RefundClosed, RefundRequested
from schemas.orders import Ticket

if TYPE_CHECKING:
    from pipeline.cli.simulation.people import People

MOST_ASKS = 30
ASK_AGAIN_S = 2.0
REFUNDS_FEN = {"r1": 500, "r2": 1_000, "r3": PRICE_FEN}


async def first_request(people: People, customer: Customer) -> None:
    """The user has paid; the agent has held seats and asks. Sometimes the order comes later than the request, or inside it."""
    house, chance = people.house, people.random.random()
    paid = house.event(customer.order)
    if chance < 0.1:
        request = house.need_pay(**house.crowd.request(customer), order=customer.order)
        await house.publisher.send(request)
    elif chance < 0.3 and not customer.by_http:
        await house.publisher.send(house.need_pay(**house.crowd.request(customer)))
        await asyncio.sleep(people.random.uniform(0, 400))
        await house.publisher.send(paid)
    else:
        await house.publisher.send(paid)
        await asyncio.sleep(people.random.choice((0, 0, 1, 20)))
        await ask_to_pay(people, "need_pay", customer, None)


async def ask_to_pay(people: People, name: str, customer: Customer, hold: str | None) -> None:
    """NEED_PAY, the way this agent sends it."""
    house = people.house
    if customer.by_http:
        await _ask(people, name, house.crowd.ask(customer, house.vault.public, hold=hold))
        return
    people.done[f"{name}:sent"] += 1
    await house.publisher.send(house.need_pay(**house.crowd.request(customer, hold=hold)))


async def _need_pay_again(people: People, customer: Customer) -> None:
    await ask_to_pay(people, "need_pay_again", customer, None)


async def _need_pay_other(people: People, customer: Customer) -> None:
    """For seats held anew, or for those of somebody else."""
    crowd = people.house.crowd
    if people.random.random() < 0.7:
        hold = crowd.hold_seats(customer)
    else:
        hold = people.random.choice(list(crowd.by_no.values())).hold
    await ask_to_pay(people, "need_pay_other", customer, hold)


async def _ask(people: People, name: str, ask: AgentAsk) -> None:
    """Agents send the same until they are answered."""
    for time in range(MOST_ASKS):
        try:
            reply = await people.house.ask(ask, again=time > 0)
        except DeskUnavailable:
            await asyncio.sleep(ASK_AGAIN_S)
            continue
        ended = "repeat" if reply.repeat else str(reply.err_code or "done")
        people.done[f"{name}:{ended}"] += 1
        return
    people.done[f"{name}:unanswered"] += 1


async def _confirm(people: People, customer: Customer) -> None:
    tickets = (Ticket(**ticket(customer.hold)),)
    if customer.by_http:
        detail = {"tickets": [one.model_dump(mode="json") for one in tickets], "account": customer.account}
        kind = RequestKind.CONFIRM
        await _ask(people, "confirm", AgentAsk(customer.agent, customer.order_no, kind, detail=detail))
        return
    data = Confirmed(order_no=customer.order_no, agent=customer.agent, account=customer.account, tickets=tickets)
    await _send(people, "confirm", data)


async def _no_ticket(people: People, customer: Customer) -> None:
    if customer.by_http:
        detail = {"reason": "1", "words": "", "comment": ""}
        kind = RequestKind.NO_TICKET
        await _ask(people, "no_ticket", AgentAsk(customer.agent, customer.order_no, kind, detail=detail))
        return
    await _send(people, "no_ticket", NoTicket(order_no=customer.order_no, agent=customer.agent, reason="1"))


async def _refund_requested(people: People, customer: Customer) -> None:
    now = people.house.clock.now()
    data = RefundRequested(order_no=customer.order_no, agent=customer.agent, requested_at=now)
    await _send(people, "refund_requested", data)


async def _refund_closed(people: People, customer: Customer) -> None:
    granted = people.random.random() < 0.5
    data = RefundClosed(order_no=customer.order_no, agent=customer.agent, granted=granted)
    await _send(people, "refund_closed", data)


async def _refund_arrived(people: People, customer: Customer) -> None:
    refund_id = people.random.choice(list(REFUNDS_FEN))
    fen = REFUNDS_FEN[refund_id]
    data = RefundArrived(order_no=customer.order_no, agent=customer.agent, refund_id=refund_id, amount_fen=fen)
    await _send(people, "refund_arrived", data)


async def _order_paid_again(people: People, customer: Customer) -> None:
    await _send(people, "order_paid_again", customer.order)


async def _send(people: People, name: str, data: AmData) -> None:
    people.done[f"{name}:sent"] += 1
    await people.house.publisher.send(people.house.event(data))


Ask = Callable[["People", Customer], Coroutine[Any, Any, None]]

ASKERS: Final[dict[str, Ask]] = {
    "need_pay_again": _need_pay_again,
    "need_pay_other": _need_pay_other,
    "confirm": _confirm,
    "no_ticket": _no_ticket,
    "refund_requested": _refund_requested,
    "refund_closed": _refund_closed,
    "refund_arrived": _refund_arrived,
    "order_paid_again": _order_paid_again,
}
