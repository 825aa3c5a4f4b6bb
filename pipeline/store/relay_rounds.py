"""One look that tells the relay which of its acts have something to do: ten times a second, and nearly always none has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnClause, ScalarSelect, Select, literal_column, select

from pipeline.store import attempts, dead_letters, purchases, results, tables, wakes
from pipeline.store.engine import Transaction

_ONE: ColumnClause[int] = literal_column("1")  # no parameter: a generic plan must know it


def _one_of(found: Select[Any], by: Column[Any]) -> ScalarSelect[Any]:
    """1 where something is found, in the order of the index made for it: of a bare EXISTS PostgreSQL may think, by statistics of
    a busier hour, that reading the whole table would meet a row at once."""
    one = found.with_only_columns(_ONE, maintain_column_froms=True)
    return one.order_by(None).order_by(by).limit(_ONE).scalar_subquery()


_look = select(
    _one_of(wakes.DUE_TO_WAKE, tables.work.c.wake_at),
    _one_of(wakes.TO_REAP, tables.work.c.lease_owner),
    _one_of(purchases.OVERDUE, tables.purchases.c.stop_at),
    _one_of(attempts.WINDOW_OVER, tables.attempts.c.submitted_at),
    _one_of(results.UNSENT, tables.results.c.at),
    _one_of(dead_letters.UNSEEN, tables.dead_letters.c.wake_at),
)


@dataclass(frozen=True, slots=True)
class Due:
    """Which acts would find something, in the order of the look's columns."""

    wake_ups: bool
    dead_holders: bool
    overdue: bool
    windows: bool
    results: bool
    dead_letters: bool

    @property
    def ends(self) -> bool:
        """Purchases end in this round: there will be something to tell in it."""
        return self.overdue or self.windows


def due(tx: Transaction, window_us: int) -> Due:
    """`window_us`: how long questions are asked."""
    (found,) = tx.rows(_look, {"window_us": window_us})
    return Due(*map(bool, found))
