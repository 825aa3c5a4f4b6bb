"""/announcements 系统公告: everybody reads them, staff writes and withdraws them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations_announcements as operations
from pipeline.console.fields import LongText, MaybeText, Text, Words
from pipeline.console.visit import Everybody, Staff, Visit
from pipeline.store.pages import Page
from pipeline.store.queries_announcements import page_of_announcements

router = APIRouter()
Id = Annotated[int, Path(ge=1, le=2**53)]


class Wanted(BaseModel):
    cursor: MaybeText = None


class Draft(BaseModel):
    title: Text
    text: LongText


class Withdrawal(BaseModel):
    reason: Words


class Announcement(BaseModel):
    """`withdrawn_at` is set only on what staff is shown: nobody else sees a withdrawn one."""

    id: int
    title: str
    text: str
    published_at: str
    published_by: str
    withdrawn_at: str | None
    withdrawn_by: str | None


class Announcements(BaseModel):
    rows: list[Announcement]
    next: str | None


class Published(BaseModel):
    id: int


@router.get("/api/v1/announcements")
def list_announcements(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Announcements:
    """Latest first, a page at a time."""
    page = _page(visit, wanted)
    return Announcements(rows=[Announcement.model_validate(row) for row in page.rows], next=page.next)


@router.post("/api/v1/announcements")
def publish(visit: Staff, draft: Draft) -> Published:
    """Everybody sees it at once."""
    return Published(
        id=visit.write(lambda tx: operations.publish_announcement(tx, draft.title, draft.text, visit.actor))
    )


@router.post("/api/v1/announcements/{announcement_id}/withdraw")
def withdraw(visit: Staff, announcement_id: Id, withdrawal: Withdrawal) -> Published:
    """Only staff sees it from now on."""
    reason = withdrawal.reason
    visit.write(lambda tx: operations.withdraw_announcement(tx, announcement_id, reason, visit.actor))
    return Published(id=announcement_id)


@router.get("/announcements", include_in_schema=False)
def announcements_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    limits = {"title": operations.LONGEST_TITLE, "text": operations.LONGEST_TEXT}
    return visit.show("announcements.html", page=_page(visit, wanted), wanted=wanted, limits=limits)


@router.post("/announcements", include_in_schema=False)
def publish_one(visit: Staff, form: Annotated[Draft, Form()]) -> Response:
    publish(visit, form)
    return visit.go("/announcements", "公告已发布")


@router.post("/announcements/{announcement_id}/withdraw", include_in_schema=False)
def withdraw_one(visit: Staff, announcement_id: Id, form: Annotated[Withdrawal, Form()]) -> Response:
    withdraw(visit, announcement_id, form)
    return visit.go("/announcements", "公告已撤回")


def _page(visit: Visit, wanted: Wanted) -> Page:
    return visit.read(lambda tx: page_of_announcements(tx, wanted.cursor, withdrawn=visit.agent is None))
