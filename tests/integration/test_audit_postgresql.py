"""The audit on a real PostgreSQL: the same words, the other dialect; and at work beside those who write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from pipeline import endings
from pipeline.auditor import Auditor
from pipeline.clock import WallClock
from pipeline.executors import InlineExecutor
from pipeline.store import attempts, audit_runs, callbacks, work
from pipeline.store.audit import Audit, audit, run, snapshot
from pipeline.store.audit_journal import audit_journal
from pipeline.store.engine import Store, StoreUnavailable, Transaction, open_store
from pipeline.store.migrate import upgrade
from pipeline.store.tables import metadata
from pipeline.store.work import Step
from tests.unit.audit_mutants import MUTANTS, Mutant
from tests.unit.audit_states import STATES
from tests.unit.desk_world import AGENT, HOLD_NO, PRICE_FEN, Desk, StillClock
from tests.unit.message_samples import ORDER_NO

# PostgreSQL keeps its own time, so nothing can be made to wait there.
IN_TIME = sorted(STATES.keys() - {"departed", "in_vain", "unpaid"})
OF_STATE = {state: [mutant for mutant in MUTANTS if mutant.state == state] for state in IN_TIME}


@pytest.fixture(scope="module")
def store(module_database: str) -> Iterator[Store]:
    upgrade(module_database)
    clock = StillClock()
    clock.moment = WallClock().now()
    store = open_store(module_database, clock)
    yield store
    store.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    """A desk on empty tables."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    with store.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # the audit log is append-only
        connection.execute(text(f"TRUNCATE {names}"))
    clock = store.clock
    assert isinstance(clock, StillClock)
    return Desk(store, clock)


def broken_by(store: Store, mutant: Mutant) -> set[str]:
    with store.engine.connect() as connection:
        tx = Transaction(connection)
        mutant.apply(tx)
        found = {broken.invariant for broken in audit(tx).broken}
        connection.rollback()
    return found


@pytest.mark.parametrize("state", IN_TIME)
def test_each_state_is_clean_and_each_breach_of_it_is_found(desk: Desk, state: str) -> None:
    STATES[state](desk)
    assert run(desk.store, batch=1).broken == ()
    for mutant in OF_STATE[state]:
        assert broken_by(desk.store, mutant) == {mutant.invariant, *mutant.consequences}, mutant


def test_an_audit_can_not_write_and_has_little_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable, match="read-only"):
        snapshot(desk.store, lambda tx: tx.run(text("UPDATE orders SET frozen_fen = 0")))
    monkeypatch.setattr("pipeline.store.audit.STATEMENT_S", 0.05)
    with pytest.raises(StoreUnavailable, match="timeout"):
        snapshot(desk.store, lambda tx: tx.run(text("SELECT pg_sleep(5)")))


def test_a_commit_between_two_ranges_is_no_breach(desk: Desk) -> None:
    STATES["settled"](desk)
    live = Audit(desk.store, batch=1)
    for _ in range(40):
        if not live.step():
            break
        desk.top_up(100)
    while live.step():
        pass
    assert live.report is not None
    assert live.report.broken == ()


def test_those_who_write_do_not_wait_for_an_audit(desk: Desk) -> None:
    STATES["settled"](desk)

    def slowly(tx: Transaction) -> bool:
        before = audit(tx)
        writer = threading.Thread(target=lambda: desk.top_up(100))
        writer.start()
        writer.join(20)
        return not writer.is_alive() and before == audit(tx)

    assert snapshot(desk.store, slowly)


def test_the_relays_audit_is_kept(desk: Desk) -> None:
    STATES["paid"](desk)
    auditor = Auditor(desk.store, InlineExecutor(), 600.0)
    auditor_again = Auditor(desk.store, InlineExecutor(), 600.0)
    asyncio.run(auditor.audit())
    asyncio.run(auditor_again.audit())
    found = desk.read(audit_runs.latest)
    assert found is not None
    assert found.ok
    assert not desk.read(lambda tx: audit_runs.is_due(tx, 600.0))


def test_a_journal_is_compared(desk: Desk) -> None:
    STATES["settled"](desk)
    line = {"seq": 1, "kind": "pay", "held_order_no": HOLD_NO, "amount_fen": PRICE_FEN}
    lines = [line, line | {"seq": 2, "kind": "debit"}, line | {"seq": 3, "kind": "issue"}]
    assert desk.read(lambda tx: audit_journal(tx, lines)) == []


def test_an_outcome_supersedes_a_provisional_3_that_is_being_written(desk: Desk) -> None:
    """Two workers: one holds the order's notification row and writes the 3, the other learns that it was paid."""
    desk.submitted()
    key = work.work_key(ORDER_NO, 0, Step.TELL)
    desk.write(lambda tx: work.bring_forward(tx, ORDER_NO, Step.TELL))
    purchase = desk.purchase()

    def paid(tx: Transaction) -> bool:
        attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
        return endings.conclude_paid(tx, purchase, attempt, PRICE_FEN, actor="system:payment")

    other = threading.Thread(target=lambda: desk.write(paid))

    def provisional(tx: Transaction) -> None:
        tx.run(text("UPDATE work SET fence = fence + 1 WHERE key = :k"), {"k": key})  # as its claim does
        callbacks.prepare(tx, ORDER_NO, 1, AGENT, "3")
        other.start()
        other.join(1.0)  # it is waiting for the row, or has gone past us

    desk.write(provisional)
    other.join(20)
    told = {row.pay_status: row.state for row in desk.read(lambda tx: callbacks.of_orders(tx, [ORDER_NO]))}
    assert told == {"3": "cancelled", "1": "pending"}
    assert run(desk.store).broken == ()
