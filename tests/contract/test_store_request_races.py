"""Requests about an order against each other and against the end of its purchase: nothing kept is ever forgotten.

On both databases; the staged ones on PostgreSQL, where two transactions can be open at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert

from consumers.intake import Intake
from pipeline import endings
from pipeline.acceptance import Limits, accept
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import attempts, orders, results
from pipeline.store.engine import Store, Transaction
from pipeline.store.tables import agents
from pipeline.vault import KeyRing
from schemas.am_messages import parse
from schemas.wakeup import wakeup
from tests.contract.store_acts import (
    PATIENCE_S,
    Act,
    Step,
    at_once,
    intends,
    let_loose,
    meet,
    runs,
    until_somebody_waits,
)
from tests.contract.store_subjects import (
    AGENT,
    count,
    fund,
    paying,
    sql,
    value,
    worker,
    write,
)
from tests.unit.message_samples import DATA, ORDER_NO, body

LIMITS = Limits(submit_within_s=1200.0, order_wait_s=300.0)
ROUNDS = 40


def prepare(store: Store) -> None:
    def act(tx: Transaction) -> None:
        worker(tx)
        fund(tx, 100_000_000)
        sealed = {"merchant_key_sealed": "s", "webhook_secret_sealed": "s"}
        tx.run(
            insert(agents).values(code=AGENT, callback_url="https://a.example", created_at=store.clock.now(), **sealed)
        )

    store.write(act)


@pytest.fixture
def postgresql(postgresql: Store) -> Store:
    prepare(postgresql)
    return postgresql


@pytest.fixture
def store(store: Store) -> Store:
    prepare(store)
    return store


def hears(store: Store, kind: str, message_id: str, order_no: str = ORDER_NO, **changes: Any) -> Act:
    """The sample message of that type about this order."""
    data = DATA[kind] | {"order_no": order_no} | changes
    raw = body(kind, data, id=f"{order_no}-{message_id}", subject=order_no, time=store.clock.now().isoformat())
    return lambda tx: accept(tx, parse(raw), LIMITS, origin="queue")


def submitted(store: Store, order_no: str, hold: str) -> None:
    """The order's purchase is in doubt."""

    def act(tx: Transaction) -> None:
        subject = paying(tx, order_no, hold=hold, fen=100)
        assert attempts.record_intent(tx, subject.intent) is None
        orders.move(tx, subject.purchase_id, PurchaseState.PAYING, PurchaseState.IN_DOUBT)

    store.write(act)


def is_proven_unpaid(order_no: str) -> Act:
    def act(tx: Transaction) -> bool:
        key = f"{order_no}:1"
        found, attempt = orders.load_purchases(tx, [key])[key], attempts.submitted(tx, [key])[key]
        reason = Reason.UNPAID_AFTER_DEADLINE
        return endings.conclude_unpaid(tx, found, attempt, "no_payment", reason, "", actor="test")

    return act


def test_a_confirm_that_meets_the_end_of_the_purchase_is_not_forgotten(postgresql: Store) -> None:
    """The purchase ends while the CONFIRM, which still saw it in doubt, is about to be kept."""
    submitted(postgresql, "o1", "E1")
    end, confirm = meet(postgresql, is_proven_unpaid("o1"), hears(postgresql, "purchase.confirmed", "c", "o1"))
    assert end is True
    assert confirm.result == "done"
    assert value(postgresql, "SELECT closure FROM orders") == "ticketed_offline"


def test_the_end_of_a_purchase_finds_the_confirm_that_is_being_kept(postgresql: Store) -> None:
    submitted(postgresql, "o1", "E1")
    confirm, end = meet(postgresql, hears(postgresql, "purchase.confirmed", "c", "o1"), is_proven_unpaid("o1"))
    assert confirm.result == "done"
    assert end is True
    assert value(postgresql, "SELECT closure FROM orders") == "ticketed_offline"


def test_a_granted_refund_that_meets_the_end_of_the_purchase_is_not_forgotten(postgresql: Store) -> None:
    submitted(postgresql, "o1", "E1")
    moment = postgresql.clock.now().isoformat()
    postgresql.write(hears(postgresql, "refund.requested", "r", "o1", requested_at=moment))
    _end, closed = meet(postgresql, is_proven_unpaid("o1"), hears(postgresql, "refund.closed", "x", "o1", granted=True))
    assert closed.result == "done"
    assert value(postgresql, "SELECT closure FROM orders") == "refunded"


def test_two_railway_refunds_at_once_do_not_take_the_same_post(postgresql: Store) -> None:
    submitted(postgresql, "o1", "E1")
    write(postgresql, orders.update_purchase, "o1:1", state="settled")
    postgresql.write(
        lambda tx: tx.connection.exec_driver_sql(
            "INSERT INTO ledger_postings (key, kind, agent, order_no, at) VALUES ('p', 'post', 'xcslw', 'o1', 1);"
            "INSERT INTO ledger_entries (posting_key, agent, account, amount_fen) VALUES ('p', 'xcslw', 'railway', 100)"
        )
    )
    one = hears(postgresql, "refund.arrived", "a", "o1", refund_id="r1", amount_fen=60)
    other = hears(postgresql, "refund.arrived", "b", "o1", refund_id="r2", amount_fen=60)
    meet(postgresql, one, other)
    assert count(postgresql, "ledger_postings", "kind = 'railway_refund'") == 1
    assert count(postgresql, "tasks") == 1


@pytest.mark.parametrize("order_first", [True, False])
def test_a_request_and_its_order_that_commit_together_find_each_other(postgresql: Store, order_first: bool) -> None:  # noqa: FBT001
    order_paid, need_pay = (hears(postgresql, kind, kind) for kind in ("order.paid", "purchase.need_pay"))
    first, second = (order_paid, need_pay) if order_first else (need_pay, order_paid)
    meet(postgresql, first, second)
    assert value(postgresql, "SELECT generation FROM orders") == 1
    assert count(postgresql, "work", "step = 'order_wait'") == 0


@pytest.mark.parametrize("other", ["order.paid", "purchase.need_pay"])
def test_what_comes_while_a_request_is_given_up_waits_and_is_not_left_alone(
    postgresql: Store, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Neither in a deadlock, nor with a request that nobody would give up any more."""
    postgresql.write(hears(postgresql, "purchase.need_pay", "first"))
    sql(postgresql, "UPDATE work SET due_at = 0")
    step, tried = Step(), Counter[str]()
    monkeypatch.setattr(results, "emit_refusals", stopped_before(results.emit_refusals, step))
    stage = Intake(LIMITS, KeyRing.generate().public, postgresql.clock)
    wake, comes = wakeup(f"{ORDER_NO}:0:order_wait"), hears(postgresql, other, "second")

    def counted(what: str, act: Act) -> Act:
        return lambda tx: (tried.update([what]), act(tx))

    with at_once() as pool:
        gives_up = runs(pool, postgresql, counted("gives up", lambda tx: stage.transact(tx, [wake])))
        step.reached()
        second = runs(pool, postgresql, counted("comes", comes))
        until_somebody_waits(postgresql)
        step.go()
        gives_up.result(PATIENCE_S)
        second.result(PATIENCE_S)
    assert tried == {"gives up": 1, "comes": 1}
    assert count(postgresql, "requests", "answer = 'waiting'") == count(postgresql, "work", "step = 'order_wait'")
    assert count(postgresql, "requests", "answer = 'waiting'") == (1 if other == "purchase.need_pay" else 0)


def stopped_before(act: Callable[..., Any], step: Step) -> Callable[..., Any]:
    def stops(tx: Transaction, *given: Any) -> Any:
        step.stop_here()
        return act(tx, *given)

    return stops


def test_who_locks_orders_waits_for_who_changes_one_and_reads_the_change(postgresql: Store) -> None:
    for n in range(3):
        postgresql.write(hears(postgresql, "order.paid", "p", f"o{n}"))

    def locks(tx: Transaction) -> int:
        orders.lock(tx, "o0", "o1", "o2")
        return int(orders.load(tx, ["o1"])["o1"].generation)

    _change, locker = meet(postgresql, lambda tx: orders.next_generations(tx, [("o1", 0)]), locks)
    assert locker == 1


def test_confirm_against_intent_gives_one_of_both_and_is_answered_true(store: Store) -> None:
    subjects = [write(store, paying, f"o{n}", hold=f"E{n}", fen=100) for n in range(ROUNDS)]
    answers = let_loose(
        store,
        [
            (
                intends(each),
                hears(store, "purchase.confirmed", "c", each.order_no),
            )
            for each in subjects
        ],
    )
    for each, (refusal, answer) in zip(subjects, answers, strict=True):
        assert answer.result == "done"
        closure = value(store, "SELECT closure FROM orders WHERE order_no = :o", o=each.order_no)
        kept = value(store, "SELECT kept_confirm FROM orders WHERE order_no = :o", o=each.order_no)
        assert (closure, kept is None) == ((None, False) if refusal is None else ("ticketed_offline", True))


def test_no_ticket_against_intent_never_gives_back_what_is_being_paid(store: Store) -> None:
    subjects = [write(store, paying, f"o{n}", hold=f"E{n}", fen=100) for n in range(ROUNDS)]
    answers = let_loose(
        store,
        [
            (
                intends(each),
                hears(store, "purchase.no_ticket", "n", each.order_no),
            )
            for each in subjects
        ],
    )
    assert {(refusal is None, answer.result) for refusal, answer in answers} <= {(True, "refused"), (False, "done")}
    assert count(store, "orders", "closure = 'no_ticket'") == sum(refusal is not None for refusal, _ in answers)


def test_of_two_requests_to_pay_at_once_one_opens_the_purchase(store: Store) -> None:
    for n in range(ROUNDS):
        store.write(hears(store, "order.paid", "p", f"o{n}"))
    rounds = [
        (hears(store, "purchase.need_pay", "a", f"o{n}"), hears(store, "purchase.need_pay", "b", f"o{n}"))
        for n in range(ROUNDS)
    ]
    answers = let_loose(store, rounds)
    assert {tuple(sorted(answer.result for answer in pair)) for pair in answers} == {("accepted", "repeat")}
    assert count(store, "purchases") == ROUNDS
