"""What a simulation left behind, read back: states, postings, callbacks, results; and the invariants that always hold."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Row, func, select

from pipeline.cli.simulation.house import House
from pipeline.cli.simulation.trips import AGENT
from pipeline.ledger import GUARDED, Account
from pipeline.states import Closure, OrderState, PurchaseState, order_state
from pipeline.store import ledger, orders
from pipeline.store.engine import Transaction
from pipeline.store.tables import (
    attempts,
    callbacks,
    dead_letters,
    history,
    ledger_balances,
    ledger_entries,
    ledger_postings,
    purchases,
    requests,
    results,
    tasks,
    work,
)
from schemas.results import ResultEvent

DONE = (
    PurchaseState.SETTLED,
    PurchaseState.HELD_UNPAID,
    PurchaseState.PAID_ABNORMAL,
    PurchaseState.REFUNDED,
    PurchaseState.NEVER_DEBITED,
)


def purchase(house: House, order_no: str, generation: int = 1) -> Row[Any]:
    row: Row[Any] = house.read(lambda tx: tx.one(select(purchases).where(purchases.c.id == f"{order_no}:{generation}")))
    return row


def generations(house: House, order_no: str) -> int:
    order = house.read(lambda tx: orders.load(tx, [order_no])).get(order_no)
    return 0 if order is None else int(order.generation)


def state_of(house: House, order_no: str) -> OrderState:
    order = house.read(lambda tx: orders.load(tx, [order_no]))[order_no]
    closure = None if order.closure is None else Closure(order.closure)
    return order_state(closure, None if order.state is None else PurchaseState(order.state))


def is_done(house: House, *order_nos: str) -> bool:
    """Every order's latest purchase ended, and whatever there is to tell was told."""
    found = house.read(lambda tx: orders.load(tx, order_nos))
    ended = all(no in found and found[no].state in DONE for no in order_nos)
    return ended and not house.read(lambda tx: tx.rows(select(work.c.key).where(work.c.order_no.in_(order_nos))))


def posted(house: House, order_no: str) -> list[tuple[str, dict[str, int]]]:
    """(kind, {account: fen}) of every posting of the order, in order."""
    query = (
        select(ledger_postings.c.key, ledger_postings.c.kind, ledger_entries.c.account, ledger_entries.c.amount_fen)
        .select_from(ledger_postings.join(ledger_entries, ledger_entries.c.posting_key == ledger_postings.c.key))
        .where(ledger_postings.c.order_no == order_no)
        .order_by(ledger_postings.c.id)
    )
    found: dict[str, tuple[str, dict[str, int]]] = {}
    for row in house.read(lambda tx: tx.rows(query)):
        found.setdefault(row.key, (row.kind, {}))[1][row.account] = row.amount_fen
    return list(found.values())


def kinds(house: House, order_no: str) -> list[str]:
    return [kind for kind, _legs in posted(house, order_no)]


def balances(house: House, agent: str = AGENT) -> dict[str, int]:
    """The agent's guarded accounts by name."""
    return {account.value: fen for account, fen in house.read(lambda tx: ledger.balances(tx, agent)).items()}


def journal(house: House, kind: str, **wanted: Any) -> list[dict[str, Any]]:
    return [
        line
        for line in house.world.journal()
        if line["kind"] == kind and all(line.get(name) == value for name, value in wanted.items())
    ]


def told(house: House, order_no: str) -> list[str]:
    """The payStatus of every callback that the agent took."""
    return [line["pay_status"] for line in journal(house, "callback", order_no=order_no, outcome="ok")]


def results_of(house: House, order_no: str) -> list[ResultEvent]:
    """What AM read for this order, repeats left out."""
    house.drain()
    seen: dict[tuple[str, int], ResultEvent] = {}
    for result in house.results:
        if result.data.order_no == order_no:
            seen.setdefault((result.type, result.data.seq), result)
    return list(seen.values())


def refusals(house: House, order_no: str) -> list[str | None]:
    return [event.data.err_code for event in results_of(house, order_no) if event.type == "purchase.refused"]


def letters(house: House, order_no: str) -> list[tuple[str, str, str]]:
    """(stage, reason, state) of the order's dead letters."""
    query = select(dead_letters).where(dead_letters.c.order_no == order_no).order_by(dead_letters.c.id)
    return [(row.stage, row.reason, row.state) for row in house.read(lambda tx: tx.rows(query))]


def story(house: House, order_no: str) -> list[str]:
    query = select(history.c.what).where(history.c.order_no == order_no).order_by(history.c.id)
    return [row.what for row in house.read(lambda tx: tx.rows(query))]


def answer_to(house: House, event_id: str) -> str:
    """What intake stored as its answer to a request."""
    return str(house.read(lambda tx: tx.run(select(requests.c.answer).where(requests.c.id == event_id)).scalar_one()))


def open_tasks(house: House, order_no: str) -> list[str]:
    query = select(tasks.c.kind).where(tasks.c.order_no == order_no, tasks.c.closed_at.is_(None))
    return [row.kind for row in house.read(lambda tx: tx.rows(query))]


def check_books(house: House) -> None:
    """The two promises and the ledger's invariants, whatever was done to the house."""
    house.read(_check_ledger)
    house.read(_check_nobody_is_lost)
    house.read(_check_results)
    for number in {line["held_order_no"] for line in journal(house, "pay")}:
        assert len(journal(house, "pay", held_order_no=number)) == 1, f"{number} was paid more than once"
    assert all(line["hmac_ok"] for line in journal(house, "callback"))


def _check_ledger(tx: Transaction) -> None:
    sums = tx.rows(
        select(ledger_entries.c.posting_key)
        .group_by(ledger_entries.c.posting_key)
        .having(func.sum(ledger_entries.c.amount_fen) != 0)
    )
    assert not sums, f"postings that do not balance: {sums}"
    entries: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.rows(select(ledger_entries)):
        entries[row.agent, row.account] += row.amount_fen
    stored = {(row.agent, row.account): row.balance_fen for row in tx.rows(select(ledger_balances))}
    for (agent, account), fen in entries.items():
        if Account(account) in GUARDED:
            assert fen == stored.get((agent, account), 0) >= 0, f"{agent} {account}: entries {fen}, balance {stored}"
    unresolved = tx.rows(
        select(attempts.c.order_no, attempts.c.amount_fen).where(
            attempts.c.submitted_at.is_not(None),
            ~select(ledger_postings.c.id).where(ledger_postings.c.key == "resolve:" + attempts.c.id).exists(),
        )
    )
    assert ledger.in_flight_fen(tx) == sum(row.amount_fen for row in unresolved), unresolved


def _check_nobody_is_lost(tx: Transaction) -> None:
    waiting = {(row.order_no, row.generation) for row in tx.rows(select(work))}
    given_up = {
        (row.order_no, row.generation) for row in tx.rows(select(dead_letters).where(dead_letters.c.state == "open"))
    }
    for row in tx.rows(select(purchases)):
        here = (row.order_no, row.generation)
        assert row.state in DONE or here in waiting or here in given_up, f"nobody works on {here}, {row.state}"
    for row in tx.rows(select(callbacks).where(callbacks.c.state == "pending")):
        assert (row.order_no, 0) in waiting, f"nobody tells {row.order_no} {row.pay_status}"


def _check_results(tx: Transaction) -> None:
    sequences: dict[str, list[int]] = defaultdict(list)
    for row in tx.rows(select(results).order_by(results.c.order_no, results.c.seq)):
        sequences[row.order_no].append(row.seq)
    for order_no, found in sequences.items():
        assert len(set(found)) == len(found), f"{order_no}: {found}"
