"""The audit finds nothing wrong wherever an order stands, and of each breach exactly what is broken by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipeline.store.audit import CHECKED, WORDS, Audit, audit, run, snapshot
from pipeline.store.engine import StoreUnavailable, Transaction
from tests.unit.audit_defects import DEFECTS, Defect
from tests.unit.audit_mutants import MUTANTS, Mutant
from tests.unit.audit_states import STATES
from tests.unit.desk_world import Desk, desk_at
from tests.unit.message_samples import ORDER_NO

COMPILED: dict[Any, Any] = {}  # an engine's statements are compiled once for all desks


class Desks:
    """A desk for each state, made when it is first asked for; nobody may commit anything to it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._desks: dict[str, Desk] = {}

    def at(self, state: str) -> Desk:
        if state not in self._desks:
            desk = self._stack.enter_context(desk_at(f"sqlite:///{self._folder / state}.sqlite3"))
            desk.store.engine = compiled_once(desk.store.engine)
            STATES[state](desk)
            self._desks[state] = desk
        return self._desks[state]


def compiled_once(engine: Engine) -> Engine:
    return engine.execution_options(compiled_cache=COMPILED)


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    with ExitStack() as stack:
        yield Desks(tmp_path_factory.mktemp("desks"), stack)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        desk.store.engine = compiled_once(desk.store.engine)
        yield desk


def broken_by(desk: Desk, mutant: Mutant) -> set[str]:
    with desk.store.engine.connect() as connection:
        tx = Transaction(connection)
        mutant.apply(tx)
        found = {broken.invariant for broken in audit(tx).broken}
        connection.rollback()
    return found


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_broken_wherever_an_order_stands(desks: Desks, state: str) -> None:
    report = run(desks.at(state).store, batch=1)
    assert (report.ok, report.broken) == (True, ())
    assert report.checked == CHECKED


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=[f"{mutant.invariant}-{number}" for number, mutant in enumerate(MUTANTS)]
)
def test_a_breach_made_by_hand_trips_its_invariant_and_what_follows_from_it(desks: Desks, mutant: Mutant) -> None:
    assert broken_by(desks.at(mutant.state), mutant) == {mutant.invariant, *mutant.consequences}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_in_the_code_trips_its_invariant(desk: Desk, defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    defect.before(desk)
    with monkeypatch.context() as patched:
        defect.patch(patched)
        defect.way(desk)
    assert {broken.invariant for broken in run(desk.store).broken} == set(defect.broken)


def test_every_invariant_has_a_mutant_that_trips_it() -> None:
    tripped = {mutant.invariant for mutant in MUTANTS} | {name for defect in DEFECTS for name in defect.broken}
    assert tripped == set(CHECKED)


def test_an_invariant_has_one_name() -> None:
    assert len(set(CHECKED)) == len(WORDS)


def test_a_breach_names_the_order_and_the_money(desk: Desk) -> None:
    desk.requested()
    desk.write(lambda tx: tx.run(text("UPDATE orders SET frozen_fen = 0")))
    (broken,) = run(desk.store).broken
    assert (broken.invariant, broken.orders, broken.amount_fen) == ("frozen_rest_of_each_order", (ORDER_NO,), 128_400)


def test_what_is_mended_between_two_looks_is_no_breach(desk: Desk) -> None:
    desk.requested()
    desk.write(lambda tx: tx.run(text("UPDATE orders SET frozen_fen = frozen_fen - 1, generation = 2")))
    live = Audit(desk.store, batch=1)
    for _ in range(2):
        assert live.step()
    desk.write(lambda tx: tx.run(text("UPDATE orders SET frozen_fen = frozen_fen + 1")))
    while live.step():
        pass
    assert live.report is not None
    assert [broken.invariant for broken in live.report.broken] == ["orders_know_their_latest_purchase"]


def test_a_top_up_between_two_ranges_is_no_breach(desk: Desk) -> None:
    live = Audit(desk.store, batch=1)
    while live.step():
        desk.top_up(100)
        if len(desk.read(lambda tx: tx.rows(text("SELECT 1 FROM ledger_postings")))) > 12:
            break
    while live.step():
        pass
    assert live.report is not None
    assert live.report.broken == ()


def test_an_audit_can_not_write(desk: Desk) -> None:
    def write(tx: Transaction) -> None:
        tx.run(text("UPDATE orders SET frozen_fen = 0"))

    with pytest.raises(StoreUnavailable, match="readonly"):
        snapshot(desk.store, write)
    desk.top_up(1)  # whoever gets the connection next may write again
