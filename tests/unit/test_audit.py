"""The audit finds nothing wrong on an order's whole way, and each breach when it is made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.reasons import Reason
from pipeline.store.audit import CHECKS, audit
from pipeline.store.audit_journal import CHECKED, UnreadableJournal, audit_journal, read_journal
from tests.unit.audit_mutants import MUTANTS, Mutant, settled
from tests.unit.desk_world import HOLD_NO, PRICE_FEN, Desk, desk_at
from tests.unit.message_samples import ORDER_NO


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


@pytest.mark.parametrize(
    "until",
    [Desk.requested, Desk.ready, Desk.submitted, Desk.paid, Desk.abnormal, settled],
    ids=["requested", "ready", "submitted", "paid", "abnormal", "settled"],
)
def test_nothing_is_broken_wherever_an_order_stands(desk: Desk, until: Callable[[Desk], object]) -> None:
    until(desk)
    report = desk.read(audit)
    assert (report.ok, report.broken) == (True, ())
    assert len(report.checked) == len(CHECKS)


def test_nothing_is_broken_after_an_unpaid_end(desk: Desk) -> None:
    desk.ended(Reason.PRICE_MISMATCH)
    assert desk.read(audit).ok


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=[f"{mutant.invariant}-{number}" for number, mutant in enumerate(MUTANTS)]
)
def test_a_breach_made_by_hand_is_found(desk: Desk, mutant: Mutant) -> None:
    mutant.until(desk)
    assert desk.read(audit).ok
    desk.write(mutant.apply)
    report = desk.read(audit)
    assert not report.ok
    assert mutant.invariant in {broken.invariant for broken in report.broken}


def test_every_invariant_has_a_mutant() -> None:
    assert {mutant.invariant for mutant in MUTANTS} == {check.name for check in CHECKS}


def test_a_breach_names_the_order_and_the_money(desk: Desk) -> None:
    desk.requested()
    desk.write(MUTANTS[6].apply)
    (broken,) = [one for one in desk.read(audit).broken if one.invariant == "frozen_rest_of_each_order"]
    assert (broken.orders, broken.amount_fen) == ((ORDER_NO,), 128_400)


PAY: dict[str, Any] = {"seq": 1, "kind": "pay", "held_order_no": HOLD_NO, "amount_fen": PRICE_FEN}
DEBIT = PAY | {"seq": 2, "kind": "debit"}


def test_a_journal_that_agrees_breaks_nothing(desk: Desk) -> None:
    settled(desk)
    assert desk.read(lambda tx: audit_journal(tx, [PAY, DEBIT])) == []


@pytest.mark.parametrize(
    ("invariant", "lines"),
    [
        ("journal_one_pay_per_hold", [PAY, PAY, DEBIT]),
        ("journal_one_debit_per_hold", [PAY, DEBIT, DEBIT]),
        ("journal_every_pay_has_its_intent", [PAY, DEBIT, PAY | {"held_order_no": "OTHER"}]),
        ("journal_taken_is_never_unpaid_here", [PAY, DEBIT, DEBIT | {"held_order_no": "OTHER"}]),
        ("journal_paid_here_was_taken", [PAY]),
        ("journal_paid_here_was_taken", [PAY, DEBIT | {"amount_fen": 1}]),
    ],
)
def test_a_journal_that_knows_otherwise_is_a_breach(desk: Desk, invariant: str, lines: list[dict[str, Any]]) -> None:
    settled(desk)
    broken = desk.read(lambda tx: audit_journal(tx, lines))
    assert invariant in {one.invariant for one in broken}
    assert invariant in CHECKED


def test_a_journal_is_read_without_its_torn_end_and_the_sandbox_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(json.dumps(PAY) + "\n" + json.dumps({"state": {}}) + '\n{"seq": 3, "ki')
    assert read_journal(path) == [PAY]
    path.write_text("no json\n")
    with pytest.raises(UnreadableJournal, match="line 1"):
        read_journal(path)
