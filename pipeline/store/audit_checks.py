"""What an invariant of the audit is: its name, its words, and the query that finds what breaks it in a range of keys.

An invariant is written as a function of a `Span` that gives a SELECT of its breaches: columns `subject`, `order_no`, `fen`.
Its docstring is its documentation (deploy/docs/audit.md): what it says, then a line `Broken: …`, then a line `Do: …`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, literal_column, select

from pipeline.store.engine import Transaction
from pipeline.store.tables import attempts, bill_lines, ledger_entries, ledger_postings, orders

Key = str | int


class Scope(StrEnum):
    """What an invariant is about, and so in ranges of which key it is looked for."""

    DATABASE = "database"  # looked at once
    ORDERS = "orders"
    POSTINGS = "postings"
    ENTRIES = "entries"
    ATTEMPTS = "attempts"
    BILL_LINES = "bill_lines"


KEY_OF: dict[Scope, ColumnElement[Any]] = {
    Scope.ORDERS: orders.c.order_no,
    Scope.POSTINGS: ledger_postings.c.id,
    Scope.ENTRIES: ledger_entries.c.id,
    Scope.ATTEMPTS: attempts.c.id,
    Scope.BILL_LINES: bill_lines.c.id,
}
FIRST: dict[Scope, Key] = {
    Scope.ORDERS: "",
    Scope.POSTINGS: 0,
    Scope.ENTRIES: 0,
    Scope.ATTEMPTS: "",
    Scope.BILL_LINES: 0,
}


class Severity(StrEnum):
    """How bad it is when an invariant is broken; `MEANS` says what to do at once."""

    MONEY = "money"
    ORDER = "order"
    RECORD = "record"


MEANS: dict[Severity, str] = {
    Severity.MONEY: "Money is wrong, or one of the guards against paying twice is gone: `daifu pause stage payment` first, "
    "then find out why.",
    Severity.ORDER: "An order stands still, or its agent or AM was told something that is not so: today's work.",
    Severity.RECORD: "What is written down contradicts itself, and nobody is harmed by it yet: a defect to be reported.",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A range of keys: above `:after`, up to `:upto`, or to the end where it is the `last`."""

    last: bool

    def of(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        after = column > bindparam("after", type_=column.type)
        return after if self.last else and_(after, column <= bindparam("upto", type_=column.type))


@dataclass(frozen=True, slots=True)
class Range:
    """The keys of one batch; `upto` None: to the end."""

    after: Key
    upto: Key | None


@dataclass(frozen=True, slots=True)
class Hit:
    """One breach. `amount_fen` is what it is about, 0 where it is about no money."""

    subject: str
    order_no: str | None
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Words:
    """An invariant's documentation, from its docstring. `anchors`: the names in the catalogue it answers, if any."""

    name: str
    severity: Severity
    anchors: str
    says: str
    broken: str
    do: str


@dataclass(frozen=True, slots=True)
class Invariant:
    words: Words
    scope: Scope
    find: Callable[[Transaction, Range], list[Hit]]

    @property
    def name(self) -> str:
        return self.words.name


Query = Callable[[Span], Select[Any]]
_PARTS = re.compile(r"(?P<says>.+?)\n\s*\n\s*Broken: (?P<broken>.+?)\n\s*Do: (?P<do>.+)", re.DOTALL)


def words_of(described: Callable[..., Any], severity: Severity, anchors: str) -> Words:
    """The documentation of an invariant. Raises ValueError where the docstring lacks one of its three parts."""
    name, parts = described.__name__, _PARTS.fullmatch((described.__doc__ or "").strip())
    if parts is None:
        raise ValueError(f"{name}: its docstring needs what it says, a line `Broken:` and a line `Do:`")
    says, broken, do = (" ".join(parts[part].split()) for part in ("says", "broken", "do"))
    return Words(name, severity, anchors, says, broken, do)


def over(scope: Scope, severity: Severity, anchors: str = "") -> Callable[[Query], Invariant]:
    """Make an invariant of a query; both of its statements, for a range and for the last one, are built once."""

    def make(query: Query) -> Invariant:
        bounded, last = query(Span(last=False)), query(Span(last=True))

        def find(tx: Transaction, keys: Range) -> list[Hit]:
            if keys.upto is None:
                rows = tx.rows(last, {"after": keys.after})
            else:
                rows = tx.rows(bounded, {"after": keys.after, "upto": keys.upto})
            return [Hit(str(row.subject), row.order_no, int(row.fen or 0)) for row in rows]

        return Invariant(words_of(query, severity, anchors), scope, find)

    return make


def breaches(
    subject: ColumnElement[Any], order_no: ColumnElement[Any], fen: ColumnElement[Any] | None = None
) -> Select[Any]:
    """The SELECT that every invariant gives; without `fen` it is about no money."""
    amount = literal_column("0") if fen is None else fen
    return select(subject.label("subject"), order_no.label("order_no"), amount.label("fen"))


def word(text: str) -> ColumnElement[str]:
    """A literal in the statement: a planner uses a partial index only where it can read the predicate."""
    return literal_column(f"'{text}'")


def words(texts: Iterable[str]) -> list[ColumnElement[str]]:
    return [word(text) for text in sorted(texts)]
