"""The invariant about the database itself: what keeps the promises whatever the code does is really there."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import UniqueConstraint, inspect

from pipeline.store.audit_checks import Hit, Invariant, Range, Scope, Severity, words_of
from pipeline.store.engine import Transaction
from pipeline.store.tables import (
    attempts,
    callbacks,
    dead_letters,
    ledger_entries,
    ledger_postings,
    purchases,
    results,
)

_GUARDED = (attempts, purchases, ledger_postings, ledger_entries, callbacks, dead_letters, results)


def _expected() -> dict[str, set[str]]:
    """What must be unique in each guarded table: indexes by name, constraints by their columns."""
    return {
        table.name: {str(index.name) for index in table.indexes if index.unique}
        | {_shown(one.columns.keys()) for one in table.constraints if isinstance(one, UniqueConstraint)}
        for table in _GUARDED
    }


def _shown(columns: Iterable[str | None]) -> str:
    return f"({', '.join(str(column) for column in columns)})"


EXPECTED = _expected()


def the_guards_are_in_place() -> None:
    """The unique indexes that hold "paid at most once" and "posted once" exist in this database, and are unique.

    Broken: only code stands between a defect and a second payment; a restore or a migration by hand lost an index.
    Do: `daifu pause stage payment`, see what the other invariants say, then create the index again as the migrations do.
    """


def _find(tx: Transaction, _keys: Range) -> list[Hit]:
    inspector = inspect(tx.connection)
    missing = []
    for table, keys in EXPECTED.items():
        found = {_shown(one["column_names"]) for one in inspector.get_unique_constraints(table)}
        found |= {str(one["name"]) for one in inspector.get_indexes(table) if one["unique"]}
        missing += [Hit(f"{table} {key}", None, 0) for key in sorted(keys - found)]
    return missing


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(words_of(the_guards_are_in_place, Severity.MONEY, "L06 P08 O10 M03 N02"), Scope.DATABASE, _find),
)
