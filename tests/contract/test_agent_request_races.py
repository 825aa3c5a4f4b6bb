"""Several doors at once on one database: whatever an agent was answered is what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

from pipeline.agent_asks import AgentAsk, AgentReply
from pipeline.agent_requests import act_all, look
from pipeline.ledger import freeze
from pipeline.store import ledger, orders
from pipeline.store.engine import Row, Store, Transaction
from tests.contract.door_asks import LIMITS, confirm, need_pay, no_ticket
from tests.contract.store_subjects import AGENT, count, order

ROUNDS = 12
FARE = 128_400


def paid(store: Store, order_no: str) -> str:
    def prepare(tx: Transaction) -> None:
        order(tx, order_no, fare_fen=FARE)
        ledger.apply(tx, [freeze(AGENT, order_no, FARE)])

    store.write(prepare)
    return order_no


def at_once(store: Store, asks: Sequence[AgentAsk]) -> list[AgentReply]:
    """Each on a thread of its own, all from the same moment on, as the desk does it."""
    start = Barrier(len(asks))

    def one(ask: AgentAsk) -> Callable[[], AgentReply]:
        def run() -> AgentReply:
            start.wait()
            seen = store.read(lambda tx: look(tx, [ask], 120.0))
            return seen.replies[0] or store.write(lambda tx: act_all(tx, [ask], LIMITS, 120.0, seen.orders)).value[0]

        return run

    with ThreadPoolExecutor(len(asks)) as pool:
        return [future.result() for future in [pool.submit(one(ask)) for ask in asks]]


def stored(store: Store, order_no: str) -> Row[tuple[object, ...]]:
    return store.read(lambda tx: orders.load(tx, [order_no]))[order_no]


def test_the_same_request_at_several_doors_opens_one_purchase(store: Store) -> None:
    for n in range(ROUNDS):
        order_no = paid(store, f"same{n}")
        replies = at_once(store, [need_pay(order_no)] * 6)
        assert Counter(replies) == {AgentReply(): 1, AgentReply(repeat=True): 5}
        assert stored(store, order_no).generation == 1
    assert count(store, "purchases") == count(store, "work") == ROUNDS


def test_of_two_holds_at_once_one_is_accepted_and_the_other_is_204(store: Store) -> None:
    for n in range(ROUNDS):
        order_no = paid(store, f"holds{n}")
        asks = [need_pay(order_no, "E111111111", "a"), need_pay(order_no, "E222222222", "b")]
        replies = at_once(store, asks)
        assert sorted(reply.err_code or "" for reply in replies) == ["", "204"]
        accepted = asks[0 if replies[0].err_code is None else 1]
        assert stored(store, order_no).held_order_no == accepted.hold


def test_a_payment_a_ticket_and_no_ticket_at_once_leave_what_was_answered(store: Store) -> None:
    for n in range(ROUNDS):
        order_no = paid(store, f"all{n}")
        _pay, ticketed, refused = at_once(store, [need_pay(order_no), confirm(order_no), no_ticket(order_no)])
        row = stored(store, order_no)
        assert (ticketed.err_code is None) != (refused.err_code is None)
        assert row.closure == ("ticketed_offline" if ticketed.err_code is None else "no_ticket")
        assert row.state in (None, "held_unpaid")  # a purchase that was opened in between was withdrawn
        assert row.frozen_fen == (FARE if row.closure == "ticketed_offline" else 0)
    assert count(store, "work", "step IN ('credentials', 'pay')") == 0


def test_an_agents_answers_do_not_depend_on_which_door_it_asks(store: Store) -> None:
    order_no = paid(store, "doors")
    replies = at_once(store, [confirm(order_no)] * 4)
    assert [reply.err_code for reply in replies] == [None] * 4
    other = replace(need_pay(order_no), agent="someone")
    assert [reply.err_code for reply in at_once(store, [other, need_pay(order_no)])] == ["112", "203"]
