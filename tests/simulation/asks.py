"""Orders brought into each state for real, and the requests that agents and AM make about them."""

from __future__ import annotations

from pipeline.cli.simulation.house import House
from pipeline.cli.simulation.incarnation import Act
from pipeline.cli.simulation.trips import AGENT, SAMPLE, order_paid, ticket
from pipeline.ledger import void
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, control, ledger, orders
from pipeline.store.engine import Transaction
from schemas.am_messages import AmEvent, Confirmed, NoTicket, RefundClosed, RefundRequested
from schemas.orders import Ticket
from tests.simulation import books

ACCOUNT = f"{SAMPLE}@example.com"


def pause(house: House, scope: str, name: str) -> None:
    house.write(lambda tx: control.pause(tx, scope, name, "test", "operator", house.clock.now()))


def resume(house: House, scope: str, name: str) -> None:
    house.write(lambda tx: control.resume(tx, scope, name))


def freeze_at_look(stage: str, point: str) -> Act:
    return 60.0 if (stage, point) == ("payment", "look:before") else None


async def bring(house: House, state: str) -> str:
    """One order whose latest purchase is in this state; its hold number ("" where there is no purchase)."""
    if state == "none":
        await house.send(house.event(order_paid()))
        await house.rest(2)
        return ""
    behaviours = {
        "held_unpaid": "captcha",
        "in_doubt": "timeout_unpaid",
        "paid_abnormal": "takes_other_amount",
        "never_debited": "takes_other_amount",
    }
    if state in ("accepted", "ready", "purchased"):
        pause(house, "stage", {"accepted": "credentials", "ready": "payment", "purchased": "settlement"}[state])
    if state == "paying":
        house.plan = freeze_at_look
    hold = await house.buy(SAMPLE, behaviours.get(state, "ok"))
    await house.rest(3 if state == "paying" else 100)
    if state == "never_debited":
        house.write(never_debited)
    assert books.purchase(house, SAMPLE).state == state
    return hold


def never_debited(tx: Transaction) -> None:
    """What a person does who found that nothing was debited."""
    attempt = attempts.submitted(tx, [f"{SAMPLE}:1"])[f"{SAMPLE}:1"]
    states = (PurchaseState.PAID_ABNORMAL, PurchaseState.NEVER_DEBITED)
    assert orders.end(tx, attempt.purchase_id, *states, Reason.AMOUNT_DIFFERS, "核实未扣款", 0)
    attempts.conclude(tx, attempt.id, "person", 0, "")
    ledger.apply(tx, [void(AGENT, SAMPLE, attempt.id, attempt.amount_fen)])


def need_pay(house: House, hold: str) -> AmEvent:
    return house.need_pay(SAMPLE, hold or "E999999999", ACCOUNT, f"invented-{SAMPLE}")


def other_hold(house: House, _hold: str) -> AmEvent:
    return house.need_pay(SAMPLE, "E888888888", ACCOUNT, f"invented-{SAMPLE}")


def go_pay(house: House, _hold: str) -> AmEvent:
    return house.need_pay(SAMPLE, None, ACCOUNT, f"invented-{SAMPLE}", price_fen=None)


def confirm(house: House, _hold: str = "") -> AmEvent:
    return house.event(Confirmed(order_no=SAMPLE, agent=AGENT, tickets=(Ticket(**ticket("E777777777")),)))


def no_ticket(house: House, _hold: str = "") -> AmEvent:
    return house.event(NoTicket(order_no=SAMPLE, agent=AGENT, reason="1"))


def refund_requested(house: House, _hold: str = "") -> AmEvent:
    return house.event(RefundRequested(order_no=SAMPLE, agent=AGENT, requested_at=house.clock.now()))


def refund_closed(house: House, *, granted: bool) -> AmEvent:
    return house.event(RefundClosed(order_no=SAMPLE, agent=AGENT, granted=granted))
