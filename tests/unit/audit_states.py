"""Where an order may stand when it is audited: by name, what brings it there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pipeline import endings, operations
from pipeline.acceptance import give_up_waiting
from pipeline.operations import Fate
from pipeline.reasons import Reason
from pipeline.store import attempts, callbacks, dead_letters, work
from pipeline.store.clock import now
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Transaction
from pipeline.store.work import Step
from tests.unit.bill_world import Moved, account_bill, day_of
from tests.unit.desk_world import AGENT, ANN, BOB, FARE_FEN, HOLD_NO, PRICE_FEN, Desk
from tests.unit.message_samples import DATA, NEED_PAY, ORDER, ORDER_NO


def empty(_desk: Desk) -> None:
    """An agent and its fund."""


def opened(desk: Desk) -> None:
    """Its attempt is open and has found its hold, without an intent."""
    desk.ready()
    attempt = desk.open_attempt()
    desk.write(lambda tx: attempts.bind_holds(tx, [(attempt, HOLD_NO)]))


def told(desk: Desk) -> None:
    desk.paid()
    desk.told()


def settled(desk: Desk) -> None:
    desk.paid()
    desk.run("settlement")


def settled_and_told(desk: Desk) -> None:
    told(desk)
    desk.run("settlement")


def refund_arrived(desk: Desk) -> None:
    settled(desk)
    desk.send("refund.arrived", DATA["refund.arrived"])


def billed(desk: Desk) -> None:
    """Its payment and its refund stand on a bill, and a payment that nobody knows."""
    refund_arrived(desk)
    at = desk.read(now)
    trade_no = desk.read(lambda tx: attempts.of_order(tx, ORDER_NO))[0].trade_no
    lines = (
        Moved(trade_no, PRICE_FEN, at, "1"),
        Moved(trade_no, -41_300, at, "2"),
        Moved("nobody's", 77, at, "3"),
    )
    operations.upload_bill(desk.write, "bill.csv", account_bill(lines, *day_of(at)).encode(), ANN)


def ended(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)


def refuse(desk: Desk) -> None:
    """What was submitted is refused by name."""
    purchase = desk.purchase()
    desk.write(
        lambda tx: endings.conclude_unpaid(
            tx,
            purchase,
            attempts.submitted(tx, [purchase.id])[purchase.id],
            "refused",
            Reason.PAY_REFUSED,
            "",
            actor="system:payment",
        )
    )


def refused(desk: Desk) -> None:
    desk.submitted()
    refuse(desk)


def unpaid(desk: Desk) -> None:
    """Submitted, and proven after the deadline that nothing was taken; the agent knows."""
    desk.submitted()
    desk.later(3600)
    purchase = desk.purchase()
    desk.write(
        lambda tx: endings.conclude_unpaid(
            tx,
            purchase,
            attempts.submitted(tx, [purchase.id])[purchase.id],
            "no_payment",
            Reason.UNPAID_AFTER_DEADLINE,
            "",
            actor="system:payment",
        )
    )
    desk.told()


def imported_again(desk: Desk) -> None:
    """Refused, told, and asked for again: the second purchase waits."""
    refused(desk)
    desk.told()
    desk.later(1)
    assert desk.send("purchase.need_pay", NEED_PAY).result == "accepted"


def closed_by(fate: Fate, *, submitted: bool = True) -> Callable[[Desk], None]:
    fen = None if fate is Fate.NEVER_DEBITED else PRICE_FEN

    def close(desk: Desk) -> None:
        desk.abnormal(Reason.NOT_ISSUED) if submitted else desk.found_paid()
        for who in (ANN, BOB):
            desk.write(
                partial(
                    operations.close_abnormal,
                    order_no=ORDER_NO,
                    how=fate,
                    debited_fen=fen,
                    evidence="账单第3行",
                    actor=who,
                    four_eyes_fen=1,
                )
            )

    return close


def offline(desk: Desk) -> None:
    desk.requested()
    desk.send("purchase.confirmed")


def departed(desk: Desk) -> None:
    offline(desk)
    desk.later(30 * 86_400)
    desk.run("settlement")


def no_ticket(desk: Desk) -> None:
    desk.requested()
    desk.send("purchase.no_ticket")


def waiting(desk: Desk) -> None:
    """The request came before its order."""
    assert desk.send("purchase.need_pay", NEED_PAY).result == "waiting"


def in_vain(desk: Desk) -> None:
    """The request waited in vain and was refused; then the order came after all, and was asked for again."""
    waiting(desk)
    desk.later(301)
    desk.write(lambda tx: give_up_waiting(tx, ORDER_NO))
    desk.write(lambda tx: work.remove(tx, [work.work_key(ORDER_NO, 0, Step.ORDER_WAIT)]))
    desk.send("order.paid", ORDER)
    assert desk.send("purchase.need_pay", NEED_PAY).result == "accepted"


def exhausted(desk: Desk) -> None:
    """The agent could not be told, and its callback was given up."""
    desk.paid()

    def give_up(tx: Transaction) -> None:
        pending = callbacks.latest_pending(tx, ORDER_NO)
        assert pending is not None
        callbacks.exhaust(tx, [pending.id])
        work.remove(tx, [work.work_key(ORDER_NO, 0, Step.TELL)])
        reason = Reason.CALLBACK_EXHAUSTED
        dead_letters.add(tx, DeadLetterFacts("notification", ORDER_NO, 1, AGENT, reason, "", 9, FARE_FEN, None))

    desk.write(give_up)


Drive = Callable[[Desk], object]
STATES: dict[str, Drive] = {
    "empty": empty,
    "requested": Desk.requested,
    "ready": Desk.ready,
    "opened": opened,
    "submitted": Desk.submitted,
    "paid": Desk.paid,
    "told": told,
    "settled": settled,
    "settled_and_told": settled_and_told,
    "refund_arrived": refund_arrived,
    "billed": billed,
    "abnormal": Desk.abnormal,
    "ended": ended,
    "refused": refused,
    "unpaid": unpaid,
    "imported_again": imported_again,
    "ticketed": closed_by(Fate.TICKETED),
    "refunded": closed_by(Fate.REFUNDED),
    "never_debited": closed_by(Fate.NEVER_DEBITED),
    "found_ticketed": closed_by(Fate.TICKETED, submitted=False),
    "found_refunded": closed_by(Fate.REFUNDED, submitted=False),
    "found_never_debited": closed_by(Fate.NEVER_DEBITED, submitted=False),
    "offline": offline,
    "departed": departed,
    "no_ticket": no_ticket,
    "waiting": waiting,
    "in_vain": in_vain,
    "exhausted": exhausted,
}
