"""Defects seeded in the code: what the audit says of an order that went its way through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import consumers.settlement
import pipeline.store.ledger
from pipeline import endings, ledger
from pipeline.store import callbacks, history, results, tasks, work
from pipeline.store.engine import Transaction
from pipeline.store.work import NewRow, Step
from tests.unit.audit_states import STATES, Drive, empty, refuse, settled
from tests.unit.desk_world import Desk

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Defect:
    """With the defect in place an order goes the `way`, after another `before` it; then exactly `broken` is broken."""

    name: str
    patch: Patch
    way: Drive
    broken: tuple[str, ...]
    before: Drive = empty


def _leaves_out(where: Any, name: str) -> Patch:
    """The function does nothing."""
    return lambda monkeypatch: monkeypatch.setattr(where, name, lambda *_args, **_more: None)


def _no_settlement_row(monkeypatch: pytest.MonkeyPatch) -> None:
    add_all = work.add_all

    def forgetful(tx: Transaction, rows: Sequence[NewRow], lease: tuple[str, float] | None = None) -> None:
        add_all(tx, [row for row in rows if row.step is not Step.SETTLE], lease)

    monkeypatch.setattr(work, "add_all", forgetful)


def _posts_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    def less(agent: str, order_no: str, attempt_id: str, held_fen: int, debited_fen: int) -> ledger.Posting:
        return ledger.post(agent, order_no, attempt_id, held_fen, debited_fen - 1)

    monkeypatch.setattr(consumers.settlement, "post", less)


def _gives_the_agent_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(agent: str, order_no: str, frozen_fen: int, _paid_fen: int) -> ledger.Posting:
        return ledger.unfreeze(agent, order_no, frozen_fen, frozen_fen)

    monkeypatch.setattr(consumers.settlement, "unfreeze", generous)


def _moves_no_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.store.ledger, "GUARDED", frozenset())


def _voids_what_was_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    def void(agent: str, order_no: str, attempt_id: str, held_fen: int, _debited_fen: int) -> ledger.Posting:
        return ledger.void(agent, order_no, attempt_id, held_fen)

    monkeypatch.setattr(consumers.settlement, "post", void)


DEFECTS = (
    Defect("no_row_for_settlement", _no_settlement_row, Desk.paid, ("no_purchase_is_forgotten",)),
    Defect("posts_too_little", _posts_too_little, settled, ("posted_is_what_was_debited",)),
    Defect("gives_the_agent_all", _gives_the_agent_all, settled, ("settled_is_the_whole_fare",)),
    Defect("moves_no_balance", _moves_no_balance, Desk.requested, ("balances_equal_entries",)),
    Defect(
        "voids_what_was_paid",
        _voids_what_was_paid,
        settled,
        ("holds_are_resolved_as_proven", "posted_is_what_was_debited"),
    ),
    Defect("no_task", _leaves_out(tasks, "open_task"), Desk.abnormal, ("every_abnormal_has_its_task",)),
    Defect("no_callback", _leaves_out(callbacks, "prepare_all"), Desk.paid, ("every_end_has_its_callback",)),
    Defect("tells_nobody", _leaves_out(endings, "tell_agents"), Desk.abnormal, ("every_end_has_its_callback",)),
    Defect(
        "no_void",
        _leaves_out(pipeline.store.ledger, "apply"),
        refuse,
        ("holds_are_resolved_as_proven",),
        Desk.submitted,
    ),
    Defect(
        "no_result",
        _leaves_out(results, "emit_accepted"),
        Desk.requested,
        ("every_step_has_its_result", "results_count_up"),
    ),
    Defect("no_audit_log", _leaves_out(history, "audit"), STATES["refunded"], ("every_closing_is_in_the_audit_log",)),
)
