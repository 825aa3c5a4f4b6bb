"""Whose turn it is to audit the live database, and what the last audits found.

One row in `meta` says when an audit is due next. Whoever moves it on has the turn, and keeps it by moving it on again; a relay
that dies meanwhile loses it when its lease is over, and the next one begins anew.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, or_, select, update

from pipeline.store.audit import Report
from pipeline.store.clock import now
from pipeline.store.control import get_meta
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import audit_runs, meta

DUE = "audit_due_at"
LEASE_S = 60.0
KEPT = 1_000  # runs
MOST_NAMED = 100  # orders, and subjects, per broken invariant

# In words that sort as their times do: `value` is text.
_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"
_take = (
    update(meta)
    .where(meta.c.name == DUE, or_(meta.c.value <= bindparam("now"), meta.c.value > bindparam("too_late")))
    .values(value=bindparam("until"))
)
_move_on = update(meta).where(meta.c.name == DUE, meta.c.value == bindparam("turn")).values(value=bindparam("until"))
_latest = select(audit_runs).order_by(audit_runs.c.id.desc()).limit(1)
_last = select(audit_runs.c.id).order_by(audit_runs.c.id.desc()).limit(1).scalar_subquery()
_forget = delete(audit_runs).where(audit_runs.c.id <= _last - bindparam("kept"))


@dataclass(frozen=True, slots=True)
class Run:
    """One audit that is over: when it began, how long it took, and `broken` as `daifu audit --json` shows it."""

    at: datetime
    ok: bool
    checked: int
    broken: list[dict[str, Any]]
    took_s: float


def is_due(tx: Transaction, every_s: float) -> bool:
    """Whether an audit should begin now. A moment further away than `every_s` was set by another setting: it counts as now."""
    due, moment = get_meta(tx, DUE), now(tx)
    return due is None or not _shown(moment) < due <= _latest_due(moment, every_s)


def take_turn(tx: Transaction, every_s: float) -> str | None:
    """The turn, where an audit is due and nobody else has it."""
    moment = now(tx)
    insert_new(tx, meta, [{"name": DUE, "value": _shown(moment)}], meta.c.name)  # the first audit ever
    turn = _shown(moment + timedelta(seconds=LEASE_S))
    values = {"now": _shown(moment), "too_late": _latest_due(moment, every_s), "until": turn}
    return turn if tx.moved(_take, values) else None


def keep_turn(tx: Transaction, turn: str) -> str | None:
    """The turn for another lease. None: it was over, and another relay has it."""
    renewed = _shown(now(tx) + timedelta(seconds=LEASE_S))
    return renewed if tx.moved(_move_on, {"turn": turn, "until": renewed}) else None


def end_turn(tx: Transaction, turn: str, began: datetime, every_s: float, report: Report) -> Run | None:
    """The audit that `began` then is over: keep what it found. None: the turn was over before."""
    moment = now(tx)
    due = max(began + timedelta(seconds=every_s), moment)
    if not tx.moved(_move_on, {"turn": turn, "until": _shown(due)}):
        return None
    broken = [asdict(one) for one in report.broken]
    for one in broken:
        one["orders"], one["subjects"] = list(one["orders"])[:MOST_NAMED], list(one["subjects"])[:MOST_NAMED]
    run = Run(began, report.ok, len(report.checked), broken, (moment - began).total_seconds())
    tx.run(insert(audit_runs).values(**asdict(run)))
    tx.run(_forget, {"kept": KEPT})
    return run


def latest(tx: Transaction) -> Run | None:
    """The last audit that came to its end."""
    row = tx.one(_latest)
    return None if row is None else Run(row.at, row.ok, row.checked, row.broken, row.took_s)


def _latest_due(moment: datetime, every_s: float) -> str:
    return _shown(moment + timedelta(seconds=max(every_s, LEASE_S)))


def _shown(moment: datetime) -> str:
    return moment.strftime(_FORM)
