"""The audit log, read: every act of every person. Writing is `history.audit`, in the transaction of the act."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, or_, select, type_coerce

from pipeline.store.engine import Row, Store, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import shown
from pipeline.store.tables import audit_log

Json = dict[str, Any]
EXPORT_PAGE = 1000
# The columns of an export, of the page's and of the command's alike.
EXPORTED = ("id", "at", "actor", "role", "origin", "action", "subject", "reason", "result", "detail")
_detail = type_coerce(audit_log.c.detail, Text)


@dataclass(frozen=True, slots=True)
class ActFilter:
    """`action` also takes the beginning before the dot (`users`); `words` is looked for in reasons and details."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    result: str | None = None
    words: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_acts(tx: Transaction, wanted: ActFilter, cursor: str | None = None, limit: int = PAGE) -> Page:
    """Latest first. Raises BadCursor."""
    rows, following = fetch(tx, _query(wanted), [audit_log.c.id], cursor, limit)
    return Page([act(row) for row in rows], following)


def all_acts(store: Store, wanted: ActFilter) -> Iterator[Json]:
    """Every act that fits, latest first, a page at a time: an export of very many holds neither memory nor a transaction."""
    cursor: str | None = None
    while True:
        page = store.read(lambda tx, at=cursor: list_acts(tx, wanted, at, EXPORT_PAGE))  # type: ignore[misc] # bound per page
        yield from page.rows
        cursor = page.next
        if cursor is None:
            return


def act(row: Row[Any]) -> Json:
    return {
        "id": row.id,
        "at": shown(row.at),
        "actor": row.actor,
        "role": row.role,
        "origin": row.origin,
        "action": row.action,
        "subject": row.subject,
        "reason": row.reason,
        "result": row.result,
        "detail": row.detail,
    }


def _query(wanted: ActFilter) -> Select[Any]:
    query: Select[Any] = select(audit_log)
    for column, value in (
        (audit_log.c.actor, wanted.actor),
        (audit_log.c.subject, wanted.subject),
        (audit_log.c.result, wanted.result),
    ):
        if value:
            query = query.where(column == value)
    if wanted.action:
        of_kind = audit_log.c.action.startswith(f"{wanted.action}.", autoescape=True)
        query = query.where(or_(audit_log.c.action == wanted.action, of_kind))
    if wanted.words:
        found = (column.contains(wanted.words, autoescape=True) for column in (audit_log.c.reason, _detail))
        query = query.where(or_(*found))
    if wanted.since:
        query = query.where(audit_log.c.at >= wanted.since)
    if wanted.until:
        query = query.where(audit_log.c.at < wanted.until)
    return query
