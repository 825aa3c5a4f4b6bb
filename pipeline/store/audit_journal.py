"""The other half of an audit: what a sandbox's journal says was sent, taken and received must be what the database knows.

The journal is the sandbox's own, written before it answered (INTERFACES section 7): it is nobody's opinion. It is read before
the database for what must be known here, and once more after it for what must have happened there, so that a payment made
meanwhile is no breach; and whatever seems broken is compared once more before it is reported.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Select, and_, literal, null, select

from pipeline.errors import DaifuError
from pipeline.ledger import Kind
from pipeline.store.audit import BATCH, Broken, next_range, snapshot
from pipeline.store.audit_checks import FIRST, Hit, Range, Scope, Span, Words
from pipeline.store.audit_oracle import CHECKS, Facts, Journal, Sides
from pipeline.store.engine import Row, Store, Transaction
from pipeline.store.tables import agents, attempts, callbacks, ledger_postings, orders, purchases

Line = dict[str, Any]


class UnreadableJournal(DaifuError):
    """A line is no JSON object."""


CHECKED: tuple[str, ...] = tuple(words.name for words, _check in CHECKS)
WORDS: tuple[Words, ...] = tuple(words for words, _check in CHECKS)


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


def _submitted(span: Span) -> Select[Any]:
    """Submitted attempts, the first one first."""
    a = attempts.c
    return (
        select(a.order_no, a.held_order_no, a.submitted_at, a.proof, a.debited_fen)
        .select_from(purchases.join(attempts, a.purchase_id == purchases.c.id))
        .where(span.of(purchases.c.order_no), a.submitted_at.is_not(None))
        .order_by(a.submitted_at)
    )


def _found(span: Span) -> Select[Any]:
    """Payments that a person booked without a hold, as if they were attempts: their intent was lost with a database."""
    u, p = purchases.c, ledger_postings.c
    return (
        select(
            *(u.order_no, u.held_order_no, null().label("submitted_at")),
            literal("person").label("proof"),
            u.paid_fen.label("debited_fen"),
        )
        .select_from(purchases.join(ledger_postings, p.order_no == u.order_no))
        .where(
            *(span.of(u.order_no), p.kind == Kind.FOUND_PAYMENT.value, u.held_order_no.is_not(None)),
            *(u.intent_at.is_(None), u.state.in_(("purchased", "settled", "refunded"))),
        )
    )


def _callbacks(span: Span) -> Select[Any]:
    c, u = callbacks.c, purchases.c
    joined = (
        callbacks.join(agents, agents.c.code == c.agent)
        .join(orders, orders.c.order_no == c.order_no)
        .join(purchases, and_(u.order_no == c.order_no, u.generation == c.generation))
    )
    return (
        select(
            *(c.order_no, c.generation, c.agent, c.pay_status, c.webhook_id, c.state, agents.c.callback_url),
            orders.c.generation.label("order_generation"),
            u.state.label("purchase_state"),
        )
        .select_from(joined)
        .where(span.of(c.order_no))
        .order_by(c.id)
    )


_STATEMENTS = {last: (_submitted(Span(last)), _found(Span(last)), _callbacks(Span(last))) for last in (False, True)}


@dataclass(slots=True)
class _Gathered:
    attempts: dict[str, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))
    callbacks: dict[str, list[Row[Any]]] = field(default_factory=lambda: defaultdict(list))

    def read(self, tx: Transaction, keys: Range) -> None:
        submitted, found, told = _STATEMENTS[keys.upto is None]
        params = {"after": keys.after} if keys.upto is None else {"after": keys.after, "upto": keys.upto}
        for row in (*tx.rows(submitted, params), *tx.rows(found, params)):
            self.attempts[row.held_order_no].append(row)
        for row in tx.rows(told, params):
            self.callbacks[row.order_no].append(row)

    def facts(self) -> Facts:
        for rows in self.attempts.values():
            rows.sort(key=lambda row: (row.submitted_at is None, row.submitted_at))
        return Facts(dict(self.attempts), dict(self.callbacks))


def audit_journal(tx: Transaction, lines: Iterable[Line]) -> list[Broken]:
    """Compare the journal with the database as this transaction sees it. They must not move meanwhile."""
    journal, gathered = Journal(lines), _Gathered()
    gathered.read(tx, Range(FIRST[Scope.ORDERS], None))
    return _judged(_compare(Sides(journal, gathered.facts(), journal)))


def run_journal(store: Store, path: Path, batch: int = BATCH) -> list[Broken]:
    """Compare the journal with the live database. Raises UnreadableJournal, StoreUnavailable."""
    first = _compare(_sides(store, path, batch))
    if not first:
        return []
    second = _compare(_sides(store, path, batch))
    return _judged({key: hit for key, hit in second.items() if key in first})


def _sides(store: Store, path: Path, batch: int) -> Sides:
    before, gathered = Journal(read_journal(path)), _Gathered()
    keys: Range | None = Range(FIRST[Scope.ORDERS], None)

    def look(tx: Transaction, begin: Range) -> Range | None:
        here = next_range(tx, Scope.ORDERS, begin, batch)
        gathered.read(tx, here)
        return None if here.upto is None else Range(here.upto, None)

    while keys is not None:
        keys = snapshot(store, lambda tx, keys=keys: look(tx, keys))  # type: ignore[misc] # bound per range
    return Sides(before, gathered.facts(), Journal(read_journal(path)))


def _compare(sides: Sides) -> dict[tuple[str, str], Hit]:
    return {(words.name, hit.subject): hit for words, check in CHECKS for hit in check(sides)}


def _judged(hits: dict[tuple[str, str], Hit]) -> list[Broken]:
    broken = []
    for name in CHECKED:
        mine = [hit for (of, _subject), hit in sorted(hits.items()) if of == name]
        if mine:
            numbers = tuple(sorted({hit.order_no for hit in mine if hit.order_no is not None}))
            fen = sum(hit.amount_fen for hit in mine)
            broken.append(Broken(name, numbers, fen, tuple(hit.subject for hit in mine)))
    return broken
