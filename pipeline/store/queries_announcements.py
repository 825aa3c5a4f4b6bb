"""系统公告 read: what everybody sees, and for staff what was withdrawn, too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, bindparam, select

from pipeline.store.engine import Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.tables import announcements

_title = select(announcements.c.title).where(announcements.c.id == bindparam("a"))


def page_of_announcements(tx: Transaction, cursor: str | None = None, limit: int = PAGE, *, withdrawn: bool) -> Page:
    """Latest first; `withdrawn`: with those that are withdrawn. Raises BadCursor."""
    query: Select[Any] = select(announcements)
    if not withdrawn:
        query = query.where(announcements.c.withdrawn_at.is_(None))
    rows, following = fetch(tx, query, [announcements.c.id], cursor, limit)
    return Page([_announcement(row) for row in rows], following)


def title_of(tx: Transaction, announcement_id: int) -> str | None:
    """None: there is no such announcement."""
    title: str | None = tx.run(_title, {"a": announcement_id}).scalar()
    return title


def _announcement(row: Any) -> Json:
    return {
        "id": row.id,
        "title": row.title,
        "text": row.text,
        "published_at": shown(row.published_at),
        "published_by": row.published_by,
        "withdrawn_at": shown(row.withdrawn_at),
        "withdrawn_by": row.withdrawn_by,
    }
