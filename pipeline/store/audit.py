"""`daifu audit`: invariants that hold at any moment, also during faults, checked on the live database. It only reads.

A live audit goes through the orders, postings, entries and attempts in ranges of keys, each in a short read-only snapshot of
its own. All that is said about one order is said from one snapshot; whatever seems broken is looked at again, in a snapshot
taken later, and reported only if it is still so: a commit in between is never a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import select, text

from pipeline.store import (
    audit_bills,
    audit_guards,
    audit_holds,
    audit_money,
    audit_payments,
    audit_postings,
    audit_purchases,
    audit_sums,
    audit_told,
)
from pipeline.store.audit_checks import FIRST, KEY_OF, Hit, Invariant, Range, Scope, Words
from pipeline.store.audit_sums import Sums
from pipeline.store.engine import Store, Transaction

T = TypeVar("T")
BATCH = 500  # orders per snapshot
_WIDER = {
    Scope.ORDERS: 1,
    Scope.POSTINGS: 10,
    Scope.ENTRIES: 10,
    Scope.ATTEMPTS: 10,
    Scope.BILL_LINES: 10,
    Scope.DATABASE: 1,
}  # cheaper ones
STATEMENT_S = 30.0  # PostgreSQL ends a statement that takes longer: production comes first

INVARIANTS: tuple[Invariant, ...] = (
    *audit_guards.INVARIANTS,
    *audit_postings.INVARIANTS,
    *audit_money.INVARIANTS,
    *audit_holds.INVARIANTS,
    *audit_payments.INVARIANTS,
    *audit_purchases.INVARIANTS,
    *audit_told.INVARIANTS,
    *audit_bills.INVARIANTS,
)
WORDS: tuple[Words, ...] = (*(invariant.words for invariant in INVARIANTS), *audit_sums.WORDS)
CHECKED: tuple[str, ...] = tuple(words.name for words in WORDS)


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold: whose, and how much money it is about. `subjects` names what was found (keys)."""

    invariant: str
    orders: tuple[str, ...]
    amount_fen: int
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    ok: bool
    checked: tuple[str, ...]
    broken: tuple[Broken, ...]


def audit(tx: Transaction, leave_out: Collection[Scope] = ()) -> Report:
    """Check everything but these scopes in this one transaction: for a database that fits into one look."""
    findings = _Findings()
    chosen = [invariant for invariant in INVARIANTS if invariant.scope not in leave_out]
    for invariant in chosen:
        findings.add(invariant.name, invariant.find(tx, Range(FIRST.get(invariant.scope, ""), None)))
    sums = Sums()
    sums.read(tx, Range(0, None))
    for words, hits in sums.broken(tx):
        findings.add(words.name, hits)
    return findings.report((*(invariant.name for invariant in chosen), *(words.name for words in audit_sums.WORDS)))


class Audit:
    """An audit of a live database, step by step; between two steps it holds nothing."""

    def __init__(self, store: Store, batch: int = BATCH) -> None:
        self.report: Report | None = None  # once it is over
        self._store, self._batch = store, batch
        self._suspects: list[tuple[Invariant, Range, set[str]]] = []
        self._sums = Sums()
        self._steps = self._walk()

    def step(self) -> bool:
        """Look at the next range. False: it is over, and `report` says what was found. Raises StoreUnavailable."""
        return next(self._steps, False)

    def _walk(self) -> Iterator[bool]:
        for scope in Scope:
            keys: Range | None = Range(FIRST.get(scope, ""), None)
            while keys is not None:
                keys = self._look(lambda tx, scope=scope, keys=keys: self._range(tx, scope, keys))  # type: ignore[misc] # bound per step
                yield True
        findings = _Findings()
        doubtful = self._look(self._sums.broken)
        yield True
        for words, hits in self._look(lambda tx: audit_sums.again(tx, doubtful)) if doubtful else ():
            findings.add(words.name, hits)
        for invariant, keys, subjects in self._suspects:
            hits = self._look(lambda tx, i=invariant, keys=keys: i.find(tx, keys))  # type: ignore[misc] # bound per suspect
            findings.add(invariant.name, [hit for hit in hits if hit.subject in subjects])
            yield True
        self.report = findings.report()

    def _range(self, tx: Transaction, scope: Scope, begin: Range) -> Range | None:
        """Look at the keys after `begin.after`; where the next range begins, None after the last."""
        keys = next_range(tx, scope, begin, self._batch * _WIDER[scope])
        for invariant in INVARIANTS:
            if invariant.scope is scope:
                hits = invariant.find(tx, keys)
                if hits:
                    self._suspects.append((invariant, keys, {hit.subject for hit in hits}))
        if scope is Scope.ENTRIES:
            self._sums.read(tx, keys)
        return None if keys.upto is None else Range(keys.upto, None)

    def _look(self, work: Callable[[Transaction], T]) -> T:
        return snapshot(self._store, work)


def next_range(tx: Transaction, scope: Scope, begin: Range, batch: int) -> Range:
    """The next `batch` keys after `begin.after`; without an end where there are no more."""
    if scope is Scope.DATABASE:
        return begin
    key = KEY_OF[scope]
    query = select(key).where(key > begin.after).order_by(key).limit(1).offset(batch - 1)
    return Range(begin.after, tx.run(query).scalar())


def run(store: Store, batch: int = BATCH) -> Report:
    """A whole live audit at once. Raises StoreUnavailable."""
    whole = Audit(store, batch)
    while whole.step():
        pass
    if whole.report is None:
        raise AssertionError("unreachable: an audit that is over has its report")
    return whole.report


def snapshot(store: Store, work: Callable[[Transaction], T]) -> T:
    """Run `work` on one snapshot of the database, in a transaction that can't write. Raises StoreUnavailable."""

    def look(tx: Transaction) -> T:
        if tx.postgresql:
            tx.run(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            tx.run(text(f"SET LOCAL statement_timeout = {round(STATEMENT_S * 1000)}"))
            return work(tx)
        tx.run(text("PRAGMA query_only = 1"))
        try:
            return work(tx)
        finally:
            tx.run(text("PRAGMA query_only = 0"))

    return store.read(look)


@dataclass(slots=True)
class _Findings:
    hits: dict[str, list[Hit]] = field(default_factory=dict)

    def add(self, name: str, hits: list[Hit]) -> None:
        if hits:
            self.hits.setdefault(name, []).extend(hits)

    def report(self, checked: tuple[str, ...] = CHECKED) -> Report:
        broken = []
        for name in checked:
            hits = self.hits.get(name, [])
            if hits:
                numbers = tuple(sorted({hit.order_no for hit in hits if hit.order_no is not None}))
                subjects = tuple(sorted({hit.subject for hit in hits}))
                broken.append(Broken(name, numbers, sum(abs(hit.amount_fen) for hit in hits), subjects))
        return Report(not broken, checked, tuple(broken))
