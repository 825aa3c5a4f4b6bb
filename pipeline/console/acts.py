"""/audit-log 审计日志: every act of every person, searchable, exportable, changed by nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from pipeline.console.fields import MaybeText, Moment
from pipeline.console.visit import Staff
from pipeline.operations_errors import PERSON
from pipeline.spreadsheet import BOM, csv_lines
from pipeline.store.acts import EXPORTED, ActFilter, all_acts, list_acts

router = APIRouter()


class Wanted(BaseModel):
    """What to look for; empty fields look for nothing."""

    actor: MaybeText = None
    action: MaybeText = None
    subject: MaybeText = None
    result: MaybeText = None
    words: MaybeText = None
    since: Moment = None
    until: Moment = None
    cursor: MaybeText = None

    def kept(self) -> dict[str, Any]:
        """What an export is asked for by: everything but the page."""
        return self.model_dump(exclude_none=True, exclude={"cursor"}, mode="json")

    def filter(self) -> ActFilter:
        actor = self.actor if self.actor is None or ":" in self.actor else f"{PERSON}{self.actor}"
        return ActFilter(actor, self.action, self.subject, self.result, self.words, self.since, self.until)


class Act(BaseModel):
    id: int
    at: str
    actor: str
    role: str | None
    origin: str | None
    action: str
    subject: str
    reason: str | None
    result: str
    detail: dict[str, Any]


class Acts(BaseModel):
    rows: list[Act]
    next: str | None


@router.get("/api/v1/audit-log")
def acts(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Acts:
    """Latest first, a page at a time."""
    page = visit.read(lambda tx: list_acts(tx, wanted.filter(), wanted.cursor))
    return Acts(rows=[Act.model_validate(row) for row in page.rows], next=page.next)


@router.get("/audit-log", include_in_schema=False)
def acts_page(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Response:
    page = visit.read(lambda tx: list_acts(tx, wanted.filter(), wanted.cursor))
    return visit.show("audit-log.html", page=page, wanted=wanted)


@router.get("/audit-log/export.csv", include_in_schema=False)
def export_csv(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Response:
    """All that the search finds, as a spreadsheet reads it."""
    lines = csv_lines(EXPORTED, all_acts(visit.desk.store, wanted.filter()))
    headers = {"Content-Disposition": 'attachment; filename="audit-log.csv"'}
    return StreamingResponse(_encoded(lines), media_type="text/csv; charset=utf-8", headers=headers)


def _encoded(lines: Iterable[str]) -> Iterator[bytes]:
    yield BOM.encode()
    yield from (line.encode() for line in lines)
