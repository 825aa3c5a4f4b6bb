"""/dead-letters/{letter_id}/raw: a message that nobody could read, masked; mended and accepted again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form
from pydantic import AfterValidator, BaseModel, StringConstraints
from starlette.responses import Response

from pipeline import operations, operations_raw
from pipeline.console.dead_letter_models import Result, RowNumber
from pipeline.console.fields import no_nul
from pipeline.console.plain import plain
from pipeline.console.visit import Staff, Visit
from pipeline.operations_errors import Refused
from pipeline.operations_raw_edit import Edit
from pipeline.store.engine import Transaction

router = APIRouter()

RawText = Annotated[str, StringConstraints(min_length=1, max_length=500_000), AfterValidator(no_nul)]


class Mended(BaseModel):
    """The masked text with a person's changes; what is still masked stays as it was."""

    text: RawText


class MendedForm(Mended):
    act: Annotated[str, StringConstraints(pattern="^(check|replay)$")] = "check"


class Raw(BaseModel):
    id: int
    text: str


class Changes(BaseModel):
    """What would be sent: path -> before and after, masked; `problem`: why it would be refused."""

    id: int
    changes: dict[str, dict[str, Any]]
    problem: str | None


@router.get("/api/v1/dead-letters/{letter_id}/raw")
def read_raw(visit: Staff, letter_id: RowNumber) -> Raw:
    """What arrived, with secrets, ID numbers and phones masked."""
    return Raw(id=letter_id, text=visit.read(lambda tx: _masked(visit, tx, letter_id)))


@router.post("/api/v1/dead-letters/{letter_id}/raw/check")
def check_raw(visit: Staff, letter_id: RowNumber, mended: Mended) -> Changes:
    """The difference that the changes make, and whether the message could be read with them. Changes nothing."""
    edit, problem = visit.read(lambda tx: _tried(visit, tx, letter_id, mended.text))
    return Changes(id=letter_id, changes={} if edit is None else edit.changes, problem=problem)


@router.post("/api/v1/dead-letters/{letter_id}/raw/replay")
def replay_raw(visit: Staff, letter_id: RowNumber, mended: Mended) -> Result:
    """Accept the mended message."""
    result = visit.write(lambda tx: _replay(visit, tx, letter_id, mended.text))
    return Result(id=letter_id, result="replay" if result.result == "replayed" else "refused", why=result.why)


@router.get("/dead-letters/{letter_id}/raw", include_in_schema=False)
def raw_page(visit: Staff, letter_id: RowNumber) -> Response:
    text = visit.read(lambda tx: _masked(visit, tx, letter_id))
    return visit.show("dead-letter-raw.html", id=letter_id, text=text, edit=None, problem=None)


@router.post("/dead-letters/{letter_id}/raw", include_in_schema=False)
def mend(visit: Staff, letter_id: RowNumber, form: Annotated[MendedForm, Form()]) -> Response:
    """First the difference, then, asked again, the replay."""
    if form.act == "replay":
        result = visit.write(lambda tx: _replay(visit, tx, letter_id, form.text))
        if result.result == "replayed":
            return visit.go(f"/dead-letters/{letter_id}", f"已按修改后的内容重放。{plain(result.why)}")
        return visit.show(
            "dead-letter-raw.html", 409, id=letter_id, text=form.text, edit=None, problem=plain(result.why)
        )
    edit, problem = visit.read(lambda tx: _tried(visit, tx, letter_id, form.text))
    return visit.show(
        "dead-letter-raw.html",
        200 if problem is None else 409,
        id=letter_id,
        text=form.text,
        edit=edit,
        problem=problem,
    )


def _masked(visit: Visit, tx: Transaction, letter_id: int) -> str:
    return operations_raw.masked(operations.find_letter(tx, letter_id), visit.desk.service_keys)


def _tried(visit: Visit, tx: Transaction, letter_id: int, text: str) -> tuple[Edit | None, str | None]:
    letter = operations.find_letter(tx, letter_id)
    edit = None
    try:
        edit = operations_raw.edited(letter, visit.desk.service_keys, text)
        operations_raw.readable(letter, visit.desk.service_keys, edit)
    except Refused as refused:
        return edit, plain(refused.words)
    return edit, None


def _replay(visit: Visit, tx: Transaction, letter_id: int, text: str) -> operations.ReplayResult:
    edit = operations_raw.edited(operations.find_letter(tx, letter_id), visit.desk.service_keys, text)
    return operations.replay(tx, letter_id, visit.actor, visit.desk.replay_rules, edit=edit)
