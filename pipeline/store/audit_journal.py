"""The other half of an audit: what a sandbox's journal says was sent and taken must be what the database knows.

The journal is the sandbox's own, written before it answered (INTERFACES section 7): it is nobody's opinion.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipeline.errors import DaifuError
from pipeline.store.audit import Broken
from pipeline.store.engine import Row, Transaction
from pipeline.store.tables import attempts, purchases

Line = dict[str, Any]

CHECKED = (
    "journal_one_pay_per_hold",
    "journal_one_debit_per_hold",
    "journal_every_pay_has_its_intent",
    "journal_taken_is_never_unpaid_here",
    "journal_paid_here_was_taken",
)

_submitted = (
    select(
        attempts.c.id,
        attempts.c.order_no,
        attempts.c.held_order_no,
        attempts.c.proof,
        attempts.c.amount_fen,
        attempts.c.debited_fen,
        purchases.c.state,
    )
    .select_from(attempts.join(purchases, purchases.c.id == attempts.c.purchase_id))
    .where(attempts.c.submitted_at.is_not(None))
)


class UnreadableJournal(DaifuError):
    """A line is no JSON object."""


def read_journal(path: Path) -> list[Line]:
    """The journal's lines (those with `seq` and `kind`); a last line cut by a kill is left out. Raises UnreadableJournal."""
    whole, _, _torn = path.read_bytes().rpartition(b"\n")
    lines: list[Line] = []
    for number, text in enumerate(whole.splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise UnreadableJournal(f"{path} line {number}: not JSON") from error
        if isinstance(line, dict) and "seq" in line and "kind" in line:
            lines.append(line)
    return lines


def audit_journal(tx: Transaction, lines: Iterable[Line]) -> list[Broken]:
    """Compare the journal with the submitted attempts. It may be ahead of the database only while payments run."""
    found = list(lines)
    pays = _by_hold(line for line in found if line["kind"] == "pay")
    debits = _by_hold(line for line in found if line["kind"] == "debit")
    ours: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in tx.rows(_submitted):
        ours[row.held_order_no].append(row)
    checks: dict[str, Callable[[], list[tuple[str, int]]]] = {
        CHECKED[0]: lambda: _paid_again(pays, ours),
        CHECKED[1]: lambda: _several(debits),
        CHECKED[2]: lambda: [(hold, _fen(pays[hold])) for hold in pays if len(pays[hold]) > len(ours[hold])],
        CHECKED[3]: lambda: [(hold, _fen(debits[hold])) for hold in debits if not _known_as_taken(ours[hold])],
        CHECKED[4]: lambda: _paid_without_debit(ours, debits),
    }
    broken = []
    for name, check in checks.items():
        holds = check()
        if holds:
            numbers = {row.order_no for hold, _fen_ in holds for row in ours[hold]}
            amount = sum(fen for _hold, fen in holds)
            broken.append(Broken(name, tuple(sorted(numbers)), amount, tuple(sorted(hold for hold, _ in holds))))
    return broken


def _by_hold(lines: Iterable[Line]) -> dict[str, list[Line]]:
    holds: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        holds[str(line["held_order_no"])].append(line)
    return holds


def _several(holds: dict[str, list[Line]]) -> list[tuple[str, int]]:
    return [(hold, _fen(lines[1:])) for hold, lines in holds.items() if len(lines) > 1]


def _paid_again(pays: dict[str, list[Line]], ours: dict[str, list[Row[Any]]]) -> list[tuple[str, int]]:
    """More than one pay of a hold, not counting those that were proven to have moved nothing: `pay_refused` may be replayed."""
    found = []
    for hold, lines in pays.items():
        over = len(lines) - sum(row.proof in ("refused", "no_payment") for row in ours[hold])
        if over > 1:
            found.append((hold, _fen(lines[1:])))
    return found


def _fen(lines: Sequence[Line]) -> int:
    return sum(int(line.get("amount_fen") or 0) for line in lines)


def _known_as_taken(rows: Sequence[Row[Any]]) -> bool:
    """Paid, or still open, or in a person's hands: anything but proven unpaid or unknown."""
    return any(row.proof is None or row.proof in ("paid", "person") for row in rows)


def _paid_without_debit(ours: dict[str, list[Row[Any]]], debits: dict[str, list[Line]]) -> list[tuple[str, int]]:
    return [
        (hold, int(row.debited_fen or 0))
        for hold, rows in list(ours.items())
        for row in rows
        if row.proof == "paid" and _fen(debits.get(hold, [])) != row.debited_fen
    ]
