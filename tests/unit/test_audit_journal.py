"""A sandbox's journal against the database: what was really sent, taken and received is what is written here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import endings
from pipeline.store import attempts
from pipeline.store.audit_journal import CHECKED, UnreadableJournal, audit_journal, read_journal, run_journal
from tests.unit.audit_states import STATES
from tests.unit.desk_world import AGENT, HOLD_NO, PRICE_FEN, Desk, desk_at
from tests.unit.message_samples import ORDER_NO

Line = dict[str, Any]
PAY: Line = {"seq": 1, "kind": "pay", "held_order_no": HOLD_NO, "order_no": None, "amount_fen": PRICE_FEN,
             "time": "2014-11-17T12:31:22+00:00", "outcome": "received"}  # fmt: skip
DEBIT = PAY | {"seq": 2, "kind": "debit", "outcome": "taken"}
ISSUE = PAY | {"seq": 3, "kind": "issue", "outcome": "issued", "amount_fen": None}
PAID = [PAY, DEBIT, ISSUE]


def callback(pay_status: str, **changes: Any) -> Line:
    return {
        "seq": 9, "kind": "callback", "account": AGENT, "order_no": ORDER_NO, "held_order_no": None, "amount_fen": None,
        "pay_status": pay_status, "hmac_ok": True, "webhook_id": f"{ORDER_NO}:1:{pay_status}", "outcome": "ok",
    } | changes  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def in_the_sandbox(desk: Desk) -> None:
    """The agent is the sandbox's."""
    with desk.store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE agents SET callback_url = 'http://127.0.0.1:1/sandbox/agents/{AGENT}/callback'")  # noqa: S608 - a test's own text  # fmt: skip


def broken(desk: Desk, lines: list[Line]) -> set[str]:
    return {one.invariant for one in desk.read(lambda tx: audit_journal(tx, lines))}


@pytest.mark.parametrize(
    ("state", "lines"),
    [
        ("requested", []),
        ("submitted", []),
        ("submitted", [PAY]),
        ("submitted", PAID),
        ("told", [*PAID, callback("1")]),
        ("told", [*PAID, callback("1"), callback("0", order_no="daifu-callback-test", webhook_id="test:1")]),
        ("settled_and_told", [*PAID, callback("1")]),
        ("abnormal", [PAY, DEBIT]),
        ("refused", [PAY]),
        ("unpaid", [PAY, callback("2")]),
        ("refunded", [PAY, DEBIT]),
        ("never_debited", [PAY]),
        ("found_ticketed", PAID),
        ("found_refunded", PAID),
        ("found_never_debited", []),
    ],
)
def test_a_journal_that_agrees_breaks_nothing(desk: Desk, state: str, lines: list[Line]) -> None:
    STATES[state](desk)
    in_the_sandbox(desk)
    assert broken(desk, lines) == set()


ONE_PAY, ONE_DEBIT, PER_ORDER = CHECKED[:3]
INTENT, TAKEN, WAS_TAKEN, ISSUED, GENUINE, RECEIVED, LAST = CHECKED[3:]
OTHER = {"held_order_no": "OTHER"}
BREACHES: list[tuple[str, list[Line], set[str]]] = [
    ("settled", [PAY, *PAID], {ONE_PAY, INTENT}),
    ("settled", [*PAID, DEBIT], {ONE_DEBIT, TAKEN, WAS_TAKEN}),
    ("settled", [*PAID, PAY | OTHER], {INTENT}),
    ("settled", [PAY | {"time": "2014-11-17T12:30:00+00:00"}, DEBIT, ISSUE], {INTENT}),
    ("settled", [*PAID, DEBIT | OTHER], {TAKEN}),
    ("refused", [PAY, DEBIT], {TAKEN}),
    ("never_debited", [PAY, DEBIT], {TAKEN, WAS_TAKEN}),
    ("settled", [PAY, ISSUE], {WAS_TAKEN}),
    ("settled", [PAY, DEBIT | {"amount_fen": 1}, ISSUE], {TAKEN, WAS_TAKEN}),
    ("settled", [PAY, DEBIT], {ISSUED}),
    ("found_ticketed", [PAY, DEBIT | {"amount_fen": 1}, ISSUE], {TAKEN, WAS_TAKEN}),
    ("found_ticketed", [PAY, *PAID], {ONE_PAY, INTENT}),
    ("found_never_debited", PAID, {INTENT, TAKEN}),
    ("told", [*PAID, callback("1", hmac_ok=False)], {GENUINE}),
    ("told", [*PAID, callback("1"), callback("1", order_no="daifu-callback-test", webhook_id="test:1")], {GENUINE}),
    ("told", [*PAID, callback("1"), callback("1") | {"pay_status": "2"}], {GENUINE}),
    ("told", [*PAID, callback("2"), callback("1")], {GENUINE}),
    ("told", PAID, {RECEIVED}),
    ("told", [*PAID, callback("1", outcome="500")], {RECEIVED}),
]


@pytest.mark.parametrize(("state", "lines", "expected"), BREACHES)
def test_a_journal_that_knows_otherwise_is_a_breach(
    desk: Desk, state: str, lines: list[Line], expected: set[str]
) -> None:
    STATES[state](desk)
    in_the_sandbox(desk)
    assert broken(desk, lines) == expected


def paid_on_two_holds(desk: Desk) -> None:
    """The unique index was lost, and a second hold of the order was paid."""
    STATES["settled"](desk)
    with desk.store.engine.begin() as connection:
        for name in ("one_submit", "one_per_order"):
            connection.exec_driver_sql(f"DROP INDEX attempts_{name}")
        connection.exec_driver_sql(
            "INSERT INTO attempts (id, purchase_id, order_no, generation, n, fence, login, held_order_no, opened_at,"
            " submitted_at, amount_fen, trade_no, final_after, concluded_at, proof, debited_fen)"
            " SELECT id || 'x', purchase_id, order_no, generation, 2, fence, login, 'OTHER', opened_at, submitted_at,"
            " amount_fen, 'T2', final_after, 1, 'paid', debited_fen FROM attempts"
        )


def test_two_debits_of_one_order_are_found_over_all_its_holds(desk: Desk) -> None:
    paid_on_two_holds(desk)
    lines = [*PAID, PAY | OTHER, DEBIT | OTHER, ISSUE | OTHER]
    assert broken(desk, lines) == {PER_ORDER}


def test_what_was_told_last_must_be_the_last_outcome(desk: Desk) -> None:
    STATES["submitted"](desk)
    with desk.store.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO callbacks (order_no, generation, agent, pay_status, webhook_id, state, calls, created_at)"  # noqa: S608 - a test's own text
            f" VALUES ('{ORDER_NO}', 1, '{AGENT}', '3', '{ORDER_NO}:1:3', 'delivered', 1, 0)"
        )
    purchase = desk.purchase()
    desk.write(
        lambda tx: endings.conclude_paid(
            tx, purchase, attempts.submitted(tx, [purchase.id])[purchase.id], PRICE_FEN, actor="system:payment"
        )
    )
    desk.told()
    assert broken(desk, [*PAID, callback("3"), callback("1")]) == set()
    assert broken(desk, [*PAID, callback("1"), callback("3")]) == {LAST}


def test_every_invariant_of_the_journal_is_tripped_by_one_of_these() -> None:
    tripped = {name for _state, _lines, expected in BREACHES for name in expected}
    assert tripped | {PER_ORDER, LAST} == set(CHECKED)


def test_a_journal_is_read_without_its_torn_end_and_the_sandbox_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(json.dumps(PAY) + "\n" + json.dumps({"state": {}}) + '\n{"seq": 3, "ki')
    assert read_journal(path) == [PAY]
    path.write_text("no json\n")
    with pytest.raises(UnreadableJournal, match="line 1"):
        read_journal(path)


def test_a_live_journal_is_read_before_and_after_the_database(desk: Desk, tmp_path: Path) -> None:
    STATES["settled"](desk)
    path = tmp_path / "journal"
    path.write_text("".join(json.dumps(line) + "\n" for line in PAID))
    assert run_journal(desk.store, path, batch=1) == []
    path.write_text(json.dumps(PAY) + "\n")
    assert {one.invariant for one in run_journal(desk.store, path, batch=1)} == {WAS_TAKEN, ISSUED}
