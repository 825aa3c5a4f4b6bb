"""Bills into tables: each line once, compared with payments and refunds in rounds; what does not agree is a break with its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Text,
    and_,
    bindparam,
    exists,
    func,
    literal,
    select,
    text,
    update,
)

from pipeline.ledger import Account
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.rows import insert_new, insert_rows
from pipeline.store.sets import OverRows
from pipeline.store.tables import (
    attempts,
    bill_breaks,
    bill_lines,
    bills,
    ledger_entries,
    ledger_postings,
    railway_refunds,
    tasks,
)
from pipeline.store.types import Instant, db_now, one_of
from pipeline.task_kinds import TaskKind

# A payment is asked for before it is taken, and AM tells of a refund hours or days after the bill shows it: so close to the end
# of a bill nothing is missing yet.
PAYMENT_SLACK: Final = timedelta(hours=1)
REFUND_SLACK: Final = timedelta(days=3)
UNSETTLED: Final = "state IN ('in_flight','differs','unmatched')"  # literal: the predicate of its index
_KEY: Final = 8307  # of the advisory lock: beside intake's

_lock = select(func.pg_advisory_xact_lock(literal(_KEY)))
_posted_key = literal("resolve:") + attempts.c.id
_posting = and_(ledger_entries.c.posting_key == _posted_key, ledger_entries.c.account == Account.RAILWAY.value)
_other_line = bill_lines.alias("other_line")
_payments = (
    select(
        attempts.c.id,
        attempts.c.order_no,
        attempts.c.trade_no,
        attempts.c.amount_fen,
        ledger_entries.c.amount_fen.label("posted_fen"),
        ledger_postings.c.kind.label("resolved_as"),
        _other_line.c.id.label("line_id"),
    )
    .select_from(
        attempts.outerjoin(ledger_postings, ledger_postings.c.key == _posted_key)
        .outerjoin(ledger_entries, _posting)
        .outerjoin(_other_line, _other_line.c.attempt_id == attempts.c.id)
    )
    .where(one_of(attempts.c.trade_no), text("attempts.trade_no IS NOT NULL"))
)
_of_alipay = select(bill_lines.c.alipay_no, bill_lines.c.order_no).where(
    one_of(bill_lines.c.alipay_no), bill_lines.c.attempt_id.is_not(None)
)
_line_of_refund = and_(
    bill_lines.c.order_no == railway_refunds.c.order_no, bill_lines.c.refund_id == railway_refunds.c.refund_id
)
_free_refunds = (
    select(railway_refunds.c.order_no, railway_refunds.c.refund_id, railway_refunds.c.amount_fen)
    .where(
        one_of(railway_refunds.c.order_no),
        ~exists(select(bill_lines.c.id).where(_line_of_refund)),
    )
    .order_by(railway_refunds.c.at, railway_refunds.c.refund_id)
)
_unsettled = (
    select(bill_lines)
    .where(text(UNSETTLED), bill_lines.c.kind == bindparam("kind"), bill_lines.c.id > bindparam("after"))
    .order_by(bill_lines.c.id)
    .limit(bindparam("most"))
)
_forget_refunds = (
    update(bill_lines).where(one_of(bill_lines.c.uid), bill_lines.c.refund_id.is_not(None)).values(refund_id=None)
)
_settle = OverRows(
    {"uid": Text(), "state": Text(), "order_no": Text(), "attempt_id": Text(), "refund_id": Text()},
    lambda given: (
        update(bill_lines)
        .where(given.has(bill_lines.c.uid, "uid"))
        .values(
            state=given.c.state, order_no=given.c.order_no, attempt_id=given.c.attempt_id, refund_id=given.c.refund_id
        )
    ),
)
_is_open = exists(select(tasks.c.id).where(tasks.c.uid == bill_breaks.c.uid, tasks.c.closed_at.is_(None)))
_change = OverRows(
    {"uid": Text(), "kind": Text(), "order_no": Text(), "here_fen": BigInteger()},
    lambda given: (
        update(bill_breaks)
        .where(given.has(bill_breaks.c.uid, "uid"), _is_open)
        .values(kind=given.c.kind, order_no=given.c.order_no, here_fen=given.c.here_fen)
    ),
)
_change_task = OverRows(
    {"uid": Text(), "order_no": Text(), "reason": Text()},
    lambda given: (
        update(tasks)
        .where(given.has(tasks.c.uid, "uid"), tasks.c.closed_at.is_(None))
        .values(order_no=given.c.order_no, reason=given.c.reason)
    ),
)
_reopen = (
    update(tasks)
    .where(one_of(tasks.c.uid), tasks.c.resolution == "matched")
    .values(closed_by=None, closed_at=None, resolution=None, evidence=None)
)
_agrees = (
    update(tasks)
    .where(one_of(tasks.c.uid), tasks.c.closed_at.is_(None))
    .values(closed_by=bindparam("who"), closed_at=db_now(), resolution="matched", evidence=bindparam("proof"))
    .returning(tasks.c.id)
)
_no_line = ~exists(select(bill_lines.c.id).where(bill_lines.c.attempt_id == attempts.c.id))
_only_here = (
    select(attempts.c.id, attempts.c.order_no, attempts.c.submitted_at.label("at"), ledger_entries.c.amount_fen)
    .select_from(attempts.join(ledger_entries, _posting))
    .where(
        text("attempts.submitted_at IS NOT NULL"),
        attempts.c.submitted_at >= bindparam("since", type_=Instant()),
        attempts.c.submitted_at < bindparam("until", type_=Instant()),
        _no_line,
    )
)
_refunds_only_here = select(railway_refunds).where(
    railway_refunds.c.at >= bindparam("since", type_=Instant()),
    railway_refunds.c.at < bindparam("until", type_=Instant()),
    ~exists(select(bill_lines.c.id).where(_line_of_refund)),
)
_other_layout = select(bills.c.id).where(
    bills.c.account == bindparam("account"),
    bills.c.layout != bindparam("layout"),
    bills.c.begins_at < bindparam("ends", type_=Instant()),
    bills.c.ends_at > bindparam("begins", type_=Instant()),
)
_goes_on_from = select(bills.c.id).where(
    bills.c.account == bindparam("account"),
    bills.c.compared_at.is_not(None),
    bills.c.begins_at < bindparam("begins", type_=Instant()),
    bills.c.ends_at >= bindparam("begins", type_=Instant()),
)
_compared = (
    update(bills).where(bills.c.id == bindparam("b")).values(compared_at=func.coalesce(bills.c.compared_at, db_now()))
)
_note = (
    update(bill_breaks)
    .where(bill_breaks.c.id == bindparam("b"), _is_open)
    .values(note=bindparam("words"))
    .returning(bill_breaks.c.uid)
)


@dataclass(frozen=True, slots=True)
class Break:
    """What does not agree. `uid` is its task's too; `why` the task's reason."""

    uid: str
    kind: str
    why: str
    moved_at: datetime
    order_no: str | None = None
    line_id: int | None = None
    attempt_id: str | None = None
    refund_id: str | None = None
    here_fen: int | None = None
    there_fen: int | None = None


def compare_alone(tx: Transaction) -> None:
    """Two comparisons at once would give one payment two lines; SQLite has one writer anyway."""
    if tx.postgresql:
        tx.run(_lock)


def add(tx: Transaction, row: dict[str, Any]) -> bool:
    """Store a bill once by its digest. False: it is known."""
    return bool(insert_new(tx, bills, [row], bills.c.digest, stamps=("uploaded_at",)))


def by_digest(tx: Transaction, digest: str) -> Row[Any] | None:
    return tx.one(select(bills).where(bills.c.digest == digest))


def has_other_layout(tx: Transaction, account: str, layout: str, begins: datetime, ends: datetime) -> bool:
    """Whether the same account's money of that period stands here in the other layout, whose lines have other numbers."""
    return bool(tx.rows(_other_layout, {"account": account, "layout": layout, "begins": begins, "ends": ends}))


def goes_on(tx: Transaction, account: str, begins: datetime) -> bool:
    """Whether another bill of the account covers what was just before."""
    return bool(tx.rows(_goes_on_from, {"account": account, "begins": begins}))


def add_lines(tx: Transaction, rows: Sequence[dict[str, Any]]) -> int:
    """Store lines, each once by its uid. How many were new."""
    return len(insert_new(tx, bill_lines, rows, bill_lines.c.uid)) if rows else 0


def compared(tx: Transaction, bill_id: int) -> None:
    tx.run(_compared, {"b": bill_id})


def unsettled(tx: Transaction, kind: str, after: int, most: int) -> list[Row[Any]]:
    """Lines that do not agree, or not yet, in the order of their ids."""
    return tx.rows(_unsettled, {"kind": kind, "after": after, "most": most})


def payments_of(tx: Transaction, trade_nos: Sequence[str]) -> dict[str, Row[Any]]:
    """Submitted attempts by their trade: what was held and posted, how the hold was resolved, and which line has it already."""
    return {row.trade_no: row for row in tx.rows(_payments, {"keys": sorted(set(trade_nos) - {""})})}


def orders_of_alipay(tx: Transaction, alipay_nos: Sequence[str]) -> dict[str, str]:
    """The orders whose payments stand on a bill under these numbers of Alipay's."""
    return {row.alipay_no: row.order_no for row in tx.rows(_of_alipay, {"keys": sorted(set(alipay_nos) - {""})})}


def free_refunds(tx: Transaction, order_nos: Sequence[str], but_for: Sequence[str]) -> list[Row[Any]]:
    """12306 refunds of these orders that no line is, in the order they came; lines of the uids `but_for` let go of theirs."""
    tx.run(_forget_refunds, {"keys": list(but_for)})
    return tx.rows(_free_refunds, {"keys": sorted(set(order_nos))})


def settle(tx: Transaction, verdicts: Sequence[tuple[str, str, str | None, str | None, str | None]]) -> None:
    """(uid, state, order_no, attempt_id, refund_id) of lines."""
    _settle.run(tx, verdicts)


def open_breaks(tx: Transaction, found: Sequence[Break]) -> set[str]:
    """Open breaks with their tasks, each once; one that is open is brought up to date. Returns the uids that are new."""
    if not found:
        return set()
    moment = now(tx)
    rows = [
        {
            "uid": one.uid,
            "kind": one.kind,
            "line_id": one.line_id,
            "order_no": one.order_no,
            "attempt_id": one.attempt_id,
            "refund_id": one.refund_id,
            "here_fen": one.here_fen,
            "there_fen": one.there_fen,
            "moved_at": one.moved_at,
        }
        for one in found
    ]
    new = insert_new(tx, bill_breaks, rows, bill_breaks.c.uid)
    kind = TaskKind.RECONCILIATION_BREAK.value
    work = [
        {"uid": one.uid, "kind": kind, "order_no": one.order_no, "reason": one.why, "opened_at": moment}
        for one in found
    ]
    insert_rows(tx, tasks, work, ignore=True)
    tx.run(_reopen, {"keys": [one.uid for one in found if one.uid not in new]})  # it agreed, and does no longer
    _change.run(tx, [(one.uid, one.kind, one.order_no, one.here_fen) for one in found if one.uid not in new])
    _change_task.run(tx, [(one.uid, one.order_no, one.why) for one in found if one.uid not in new])
    return set(new)


def close_agreeing(tx: Transaction, uids: Sequence[str], who: str, proof: str) -> int:
    """What these breaks were about agrees by now. How many were open."""
    return len(tx.rows(_agrees, {"keys": list(uids), "who": who, "proof": proof})) if uids else 0


def only_here(tx: Transaction, since: datetime, until: datetime) -> list[Row[Any]]:
    """Payments submitted in that time that were posted and stand on no bill: id, order_no, at, amount_fen."""
    return tx.rows(_only_here, {"since": since, "until": until})


def refunds_only_here(tx: Transaction, since: datetime, until: datetime) -> list[Row[Any]]:
    return tx.rows(_refunds_only_here, {"since": since, "until": until})


def write_note(tx: Transaction, break_id: int, words: str) -> str | None:
    """Its uid; None: it is closed, or there is none."""
    uid: str | None = tx.run(_note, {"b": break_id, "words": words}).scalar_one_or_none()
    return uid
