"""An order that comes with its request is stored with its first generation open. Everything is then as if it had been opened by a
guarded write, as orders are that were there before: rows, results for AM, money, work, the request's answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pipeline.operations_recovery import recover
from pipeline.paid_orders import Conflict
from pipeline.reasons import Reason
from pipeline.requests import ErrCode
from pipeline.store import dead_letters, orders, picture, results
from pipeline.store.audit import audit
from pipeline.store.dead_letters import DeadLetterFacts
from pipeline.store.engine import Store, Transaction
from tests.contract.stage_batches import statements_of
from tests.contract.store_acts import Act, meet
from tests.contract.store_subjects import AGENT, read, value
from tests.contract.test_store_request_races import hears, prepare
from tests.unit.message_samples import ORDER

MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT")  # a row's
MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)|\d{16}")  # inside of a text


@pytest.fixture
def store(store: Store) -> Store:
    prepare(store)
    return store


@pytest.fixture
def postgresql(postgresql: Store) -> Store:
    prepare(postgresql)
    return postgresql


def comes(store: Store, order_no: str, message_id: str = "n", **changes: Any) -> Act:
    """A request with its order in it."""
    return hears(store, "purchase.need_pay", message_id, order_no, order=ORDER | {"order_no": order_no} | changes)


def nothing(_store: Store, _order_no: str) -> None:
    """Nobody has heard of it."""


def refused(store: Store, order_no: str) -> None:
    told = results.Refused(order_no, AGENT, "earlier", ErrCode.BAD_PARAMETER, "no")
    store.write(lambda tx: results.emit_refusals(tx, [told]))


def failed(store: Store, order_no: str) -> None:
    facts = DeadLetterFacts("intake", order_no, 0, AGENT, Reason.ORDER_UNKNOWN, "", 1, None, None)
    store.write(lambda tx: dead_letters.add_all(tx, [facts]))


def waited(store: Store, order_no: str) -> None:
    assert store.write(hears(store, "purchase.need_pay", "earlier", order_no)).value.result == "waiting"


def was_paid(store: Store, order_no: str) -> None:
    store.write(hears(store, "order.paid", "p", order_no))


def was_paid_otherwise(store: Store, order_no: str) -> None:
    store.write(hears(store, "order.paid", "p", order_no, fare_fen=1))


def restored(store: Store, _order_no: str) -> None:
    since = store.clock.now() - timedelta(hours=1)
    store.write(lambda tx: recover(tx, since, "human:ops"))


BEFORE: dict[str, tuple[Callable[[Store, str], None], dict[str, Any]]] = {
    "nobody has heard of it": (nothing, {}),
    "a refusal was told of it": (refused, {}),
    "it has a dead letter": (failed, {}),
    "an earlier request waits for it": (waited, {}),
    "it is known": (was_paid, {}),
    "it is known otherwise": (was_paid_otherwise, {}),
    "a restore is recovered from": (restored, {}),
    "it is a joint trip": (nothing, {"trip": "joint"}),
    "it is another agent's": (nothing, {"agent": "gzcp"}),
    "it cost nothing": (nothing, {"fare_fen": 0}),
}


@pytest.mark.parametrize("before", BEFORE)
def test_it_is_as_if_it_had_been_opened_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    prepared, changes = BEFORE[before]
    answers = []
    for order_no in ("o1", "o2"):
        prepared(store, order_no)
        try:
            answers.append(store.write(comes(store, order_no, **changes)).value)
        except Conflict as conflict:
            answers.append(str(conflict))
        except ValueError as error:  # the message contradicts itself
            answers.append(str(error))
        monkeypatch.setattr(orders, "without_a_past", lambda _tx, _order_nos: set())
    assert answers[0] == answers[1]
    assert what_is_there(store, "o1") == what_is_there(store, "o2")


def what_is_there(store: Store, order_no: str) -> dict[str, list[str]]:
    """All that is stored of an order; neither its number nor any moment, which differ."""
    found = {}
    for table, rows in read(store, picture.everything).items():
        plain = [
            repr([value for value in row if not (isinstance(value, str) and MOMENT.match(value))])
            for row in rows
            if order_no in repr(row)
        ]
        found[table] = [MOMENTS.sub("…", row.replace(order_no, "o")) for row in plain]
    return found


def test_its_generation_and_what_is_told_of_it_stand_in_the_row_that_was_inserted(store: Store) -> None:
    with statements_of(store) as executed:
        assert store.write(comes(store, "o1")).value.generation == 1
    assert [it for it in executed if it.startswith("UPDATE orders")] == []
    assert value(store, "SELECT generation FROM orders") == value(store, "SELECT result_seq FROM orders") == 1
    assert value(store, "SELECT state FROM purchases") == "accepted"
    assert value(store, "SELECT seq FROM results") == 1


@pytest.mark.parametrize("refusal_first", [True, False])
def test_a_refusal_at_once_with_it_has_another_number(
    postgresql: Store,
    refusal_first: bool,  # noqa: FBT001
) -> None:
    told = results.Refused("o1", AGENT, "r", ErrCode.BAD_PARAMETER, "no")

    def is_refused(tx: Transaction) -> None:
        results.emit_refusals(tx, [told])

    both = (is_refused, comes(postgresql, "o1"))
    meet(postgresql, *(both if refusal_first else reversed(both)))
    accepted = value(postgresql, "SELECT seq FROM results WHERE row_key LIKE :key", key="%accepted")
    assert accepted == (2 if refusal_first else 1)
    assert value(postgresql, "SELECT seq FROM results WHERE row_key LIKE :key", key="%:r") == 3 - accepted


@pytest.mark.parametrize("request_first", [True, False])
def test_an_earlier_request_at_once_with_it_opens_nothing_more(
    postgresql: Store,
    request_first: bool,  # noqa: FBT001
) -> None:
    both = (hears(postgresql, "purchase.need_pay", "earlier", "o1"), comes(postgresql, "o1"))
    answers = meet(postgresql, *(both if request_first else reversed(both)))
    assert {answer.result for answer in answers} == ({"waiting", "repeat"} if request_first else {"accepted", "repeat"})
    assert value(postgresql, "SELECT count(*) FROM purchases") == 1
    assert value(postgresql, "SELECT generation FROM orders") == 1


def test_the_same_message_at_once_stores_one_order(postgresql: Store) -> None:
    both = [comes(postgresql, "o1", f"n{n}") for n in (1, 2)]
    assert sorted(answer.result for answer in meet(postgresql, *both)) == ["accepted", "repeat"]
    assert value(postgresql, "SELECT count(*) FROM purchases") == 1


@pytest.mark.parametrize("kind", ["purchase.no_ticket", "refund.closed"])
def test_an_order_and_what_ends_it_can_come_together(store: Store, kind: str) -> None:
    """What was frozen in a transaction goes back in the same one; the agent has no other order whose money could stand in."""
    paid, ends = hears(store, "order.paid", "p", "o1"), hears(store, kind, "e", "o1")
    asked = hears(store, "refund.requested", "r", "o1")

    def together(tx: Transaction) -> Any:
        paid(tx)
        if kind == "refund.closed":
            asked(tx)
        return ends(tx)

    assert store.write(together).value.result == "done"
    assert value(store, "SELECT sum(balance_fen) FROM ledger_balances WHERE account = 'frozen'") in (None, 0)
    assert read(store, audit).ok
