"""Agents' requests that come together: as many statements as for one, and each decided by how its order stands by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pipeline import endings, order_requests
from pipeline.agent_asks import AgentAsk, AgentReply
from pipeline.agent_requests import Look, act_all, look
from pipeline.endings import Unpaid
from pipeline.reasons import Reason
from pipeline.requests import OrderFacts, RequestKind, Verdict, decide
from pipeline.states import TRANSITIONS
from pipeline.store import orders
from pipeline.store.clock import now
from pipeline.store.engine import Row, Store, Transaction
from tests.contract.door_asks import LIMITS, confirm, need_pay, no_ticket
from tests.contract.stage_batches import statements_of
from tests.contract.store_subjects import POSTGRESQL, SQLITE, count, order

WINDOW_S = 120.0
# What requests for new purchases cost, however many: one to look, then the guarded write, and a row in each of four tables: one
# statement on PostgreSQL. SQLite, which has no round trips, says BEGIN as a statement too.
TO_LOOK = {POSTGRESQL: 1, SQLITE: 2}
TO_ACCEPT = {POSTGRESQL: 2, SQLITE: 6}
TO_SUPERSEDE = 2  # where a generation ended before: its callbacks and its dead letters


def paid(store: Store, *order_nos: str) -> None:
    def pay(tx: Transaction) -> None:
        for order_no in order_nos:
            order(tx, order_no)

    store.write(pay)


def seen(store: Store, asks: Sequence[AgentAsk]) -> Look:
    return store.peek(lambda tx: look(tx, asks, WINDOW_S))


def acted(store: Store, asks: Sequence[AgentAsk], found: Look) -> list[str]:
    """Codes; `repeat` and `done` for what was answered true."""
    replies = store.write(lambda tx: act_all(tx, asks, LIMITS, WINDOW_S, found.orders)).value
    return [words(reply) for reply in replies]


def words(reply: AgentReply | None) -> str:
    assert reply is not None
    return reply.err_code.value if reply.err_code is not None else "repeat" if reply.repeat else "done"


def together(store: Store, *asks: AgentAsk) -> list[str]:
    """As the desk does it."""
    found = seen(store, asks)
    left = iter(acted(store, [ask for ask, reply in zip(asks, found.replies, strict=True) if reply is None], found))
    return [next(left) if reply is None else words(reply) for reply in found.replies]


def generation(store: Store, order_no: str) -> int:
    return int(store.read(lambda tx: orders.load(tx, [order_no]))[order_no].generation)


def expire(tx: Transaction, purchase_ids: Sequence[str]) -> None:
    """They end unpaid, each with a dead letter and payStatus 2."""
    ends = [Unpaid(row, Reason.REQUEST_EXPIRED, "") for row in orders.load_purchases(tx, purchase_ids).values()]
    endings.end_all_before_intent(tx, ends, stage="payment", actor="test")


def ask_back(tx: Transaction, order_no: str) -> None:
    detail = {"requested_at": now(tx)}
    order_requests.request(tx, order_no, RequestKind.REFUND_REQUESTED, detail, actor="test")


def test_many_at_once_are_as_many_statements_as_one(store: Store) -> None:
    kind = store.engine.dialect.name
    for number in (1, 20, 300):
        names = [f"o{number}-{n}" for n in range(number)]
        paid(store, *names)
        asks = [need_pay(name) for name in names]
        with statements_of(store) as executed:
            found = seen(store, asks)
        assert len(executed) == TO_LOOK[kind]
        with statements_of(store) as executed:
            assert acted(store, asks, found) == ["done"] * number
        assert len(executed) == TO_ACCEPT[kind]
        with statements_of(store) as executed:
            assert seen(store, asks).replies == [AgentReply(repeat=True)] * number
        assert len(executed) == TO_LOOK[kind]


def test_what_ended_before_costs_its_two_statements_more(store: Store) -> None:
    kind = store.engine.dialect.name
    names = [f"o{n}" for n in range(20)]
    paid(store, *names)
    together(store, *(need_pay(name) for name in names))
    store.write(lambda tx: expire(tx, [f"{name}:1" for name in names]))
    asks = [need_pay(name, digest="another") for name in names]
    found = seen(store, asks)
    with statements_of(store) as executed:
        assert acted(store, asks, found) == ["done"] * 20
    assert len(executed) == TO_ACCEPT[kind] + TO_SUPERSEDE
    assert (
        count(store, "dead_letters", "state = 'superseded'") == count(store, "callbacks", "state = 'cancelled'") == 20
    )


def test_a_group_decides_each_request_by_what_those_before_it_did(store: Store) -> None:
    paid(store, "a", "b", "c")
    replies = together(
        store,
        need_pay("a", "E111111111"),
        need_pay("b"),
        need_pay("a", "E222222222", "other"),
        confirm("c"),
        need_pay("a", "E111111111"),
        no_ticket("a"),
        need_pay("c"),
        need_pay("a"),
        confirm("c"),
        need_pay("nobody's"),
        confirm("a"),
    )
    assert replies == ["done", "done", "204", "done", "repeat", "done", "203", "203", "repeat", "112", "206"]
    assert count(store, "purchases") == 2
    assert count(store, "work", "step = 'credentials'") == 1


def test_the_same_request_many_times_in_a_group_is_looked_at_once_more(store: Store) -> None:
    kind = store.engine.dialect.name
    paid(store, "a")
    asks = [need_pay("a")] * 50
    found = seen(store, asks)
    assert found.replies == [None] * 50
    with statements_of(store) as executed:
        assert acted(store, asks, found) == ["done"] + ["repeat"] * 49
    assert len(executed) <= TO_ACCEPT[kind] + TO_LOOK[kind]


def test_a_repeat_that_waited_for_another_request_is_still_one_when_that_was_sent_back(store: Store) -> None:
    paid(store, "a")
    together(store, need_pay("a", digest="first"))
    store.write(lambda tx: expire(tx, ["a:1"]))
    asks = [need_pay("a", digest="second"), need_pay("a", digest="first")]
    found = seen(store, asks)
    assert found.replies == [None, None]
    assert acted(store, asks[1:], found) == ["repeat"]
    assert generation(store, "a") == 1


def test_an_order_that_keeps_moving_is_sent_back_and_nothing_of_it_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(store, "a", "b")
    next_generations = orders.next_generations

    def not_a(tx: Transaction, current: Sequence[tuple[str, int]]) -> dict[str, Row[Any]]:
        return next_generations(tx, [one for one in current if one[0] != "a"])

    monkeypatch.setattr(orders, "next_generations", not_a)
    assert together(store, need_pay("a"), need_pay("b")) == ["999", "done"]
    assert (generation(store, "a"), generation(store, "b")) == (0, 1)
    assert count(store, "purchases") == count(store, "work") == count(store, "results") == 1


CHANGES: dict[str, tuple[Callable[[Store], object], str, int]] = {
    "paid for by another request": (lambda store: together(store, need_pay("o1")), "repeat", 1),
    "paid for with another hold": (lambda store: together(store, need_pay("o1", "E999999999")), "204", 1),
    "ticketed": (lambda store: together(store, confirm("o1")), "203", 0),
    "closed": (lambda store: together(store, no_ticket("o1")), "203", 0),
    "paid for and withdrawn": (lambda store: together(store, need_pay("o1"), no_ticket("o1")), "203", 1),
    "asked back": (lambda store: store.write(lambda tx: ask_back(tx, "o1")), "207", 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_order_that_moves_after_it_was_looked_at_is_decided_anew(store: Store, change: str) -> None:
    moves, code, opened_before = CHANGES[change]
    paid(store, "o1", "o2")
    asks = [need_pay("o1", "E111111111"), need_pay("o2")]
    found = seen(store, asks)
    assert found.replies == [None, None]
    moves(store)
    assert acted(store, asks, found) == [code, "done"]
    assert (generation(store, "o1"), generation(store, "o2")) == (opened_before, 1)


def test_what_the_guards_do_not_hold_of_an_acceptable_order_never_changes() -> None:
    """Orders are opened as they were looked at before: a state in which one may be must be an end."""
    for state in (None, *TRANSITIONS):
        facts = OrderFacts(
            joint_trip=False,
            closure=None,
            refund_requested=False,
            generation=0 if state is None else 1,
            latest=state,
            intent=False,
            held_order_no=None,
        )
        if decide(RequestKind.NEED_PAY, facts).verdict is Verdict.ACCEPT:
            assert state is None or TRANSITIONS[state] == frozenset()
