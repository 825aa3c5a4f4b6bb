"""/dead-letters 死信: groups, search, export, and acts on what was ticked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Form, Query
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from pipeline import operations
from pipeline.console.dead_letter_models import Chosen, Group, Letter, Letters, Wanted
from pipeline.console.fields import Words
from pipeline.console.plain import plain
from pipeline.console.visit import Staff
from pipeline.operations_errors import Refused
from pipeline.spreadsheet import BOM, csv_lines
from pipeline.store.engine import Store
from pipeline.store.queries_desk import list_pauses
from pipeline.store.queries_letters import (
    EXPORTED,
    LetterFilter,
    all_letters,
    count_letters,
    groups_of_letters,
    page_of_letters,
)

router = APIRouter()


class Discarded(BaseModel):
    """What was ticked, and why nobody shall replay it."""

    ids: Annotated[list[Chosen], Field(max_length=1_000)] = []
    reason: Words


@router.get("/api/v1/dead-letters")
def list_letters(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Letters:
    """Dead letters, open ones unless `state` says otherwise, nearest deadline first, a page at a time."""
    page = visit.read(lambda tx: page_of_letters(tx, wanted.filter(), wanted.cursor))
    return Letters(rows=[Letter.model_validate(row) for row in page.rows], next=page.next)


@router.get("/api/v1/dead-letters/groups")
def list_groups(visit: Staff, wanted: Annotated[Wanted, Query()]) -> list[Group]:
    """What the filter finds by reason and stage: how many, their sum, the nearest deadline."""
    return [Group.model_validate(group) for group in visit.read(lambda tx: groups_of_letters(tx, wanted.filter()))]


@router.get("/dead-letters", include_in_schema=False)
def letters_page(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Response:
    found = wanted.filter()
    page = visit.read(lambda tx: page_of_letters(tx, found, wanted.cursor))
    count, fen = visit.read(lambda tx: count_letters(tx, found))
    groups = visit.read(lambda tx: groups_of_letters(tx, LetterFilter(agent=found.agent)))
    pauses = visit.read(list_pauses)
    return visit.show("dead-letters.html", page=page, wanted=wanted, count=count, fen=fen, groups=groups, pauses=pauses)


@router.post("/dead-letters/discard", include_in_schema=False)
def discard_ticked(visit: Staff, form: Annotated[Discarded, Form()]) -> Response:
    """Each in a transaction of its own: one that may not be discarded stands in nobody's way."""
    refused = []
    for letter_id in sorted(set(form.ids)):
        try:
            visit.write(lambda tx, one=letter_id: operations.discard(tx, one, form.reason, visit.actor))  # type: ignore[misc] # bound per letter
        except (Refused, operations.NotFound) as error:
            refused.append(f"{letter_id}: {plain(str(error))}")
    done = len(set(form.ids)) - len(refused)
    if not form.ids:
        return visit.go("/dead-letters", "没有勾选死信", "refused")
    if refused:
        return visit.go("/dead-letters", f"已丢弃 {done} 条; 没有丢弃: {'; '.join(refused[:10])}"[:800], "refused")
    return visit.go("/dead-letters", f"已丢弃 {done} 条")


@router.get("/dead-letters/export.csv", include_in_schema=False)
def export_csv(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Response:
    """All that the filter finds, as a spreadsheet reads it."""
    return _file(_csv(visit.desk.store, wanted.filter()), "text/csv; charset=utf-8", "dead-letters.csv")


@router.get("/dead-letters/export.json", include_in_schema=False)
def export_json(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Response:
    """The same as one JSON array."""
    return _file(_json(visit.desk.store, wanted.filter()), "application/json", "dead-letters.json")


def _file(lines: Iterator[str], kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse((line.encode() for line in lines), media_type=kind, headers=headers)


def _csv(store: Store, wanted: LetterFilter) -> Iterator[str]:
    yield BOM
    yield from csv_lines(EXPORTED, all_letters(store, wanted))


def _json(store: Store, wanted: LetterFilter) -> Iterator[str]:
    before = "[\n"
    for row in all_letters(store, wanted):
        yield before + json.dumps(row, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"
