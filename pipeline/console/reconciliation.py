"""/reconciliation 对账: bills against our books, what does not agree, and the money in flight. Agents see what is their own orders'."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations
from pipeline.console import reconciliation_models as models
from pipeline.console.fields import MaybeText, Words
from pipeline.console.problems import Missing
from pipeline.console.reconciliation_models import Wanted
from pipeline.console.visit import Everybody, Staff, Visit
from pipeline.operations_users import actor_of
from pipeline.store.clock import now
from pipeline.store.pages import Page
from pipeline.store.queries_overview import in_flight_by_age
from pipeline.store.queries_reconciliation import (
    BreakFilter,
    oldest_in_flight,
    open_breaks_by_kind,
    page_of_bills,
    page_of_breaks,
    page_of_lines,
    show_bill,
    show_break,
)
from pipeline.store.queries_tasks import NOBODY

router = APIRouter()
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
MINE = "me"
MAX_BILL_BYTES = 20_000_000  # 100,000 lines


class WantedLines(BaseModel):
    state: MaybeText = None
    cursor: MaybeText = None


class WantedBills(BaseModel):
    cursor: MaybeText = None


class Noted(BaseModel):
    note: Words


@router.get("/api/v1/reconciliation")
def read_reconciliation(visit: Everybody) -> models.Reconciliation:
    """Open breaks by kind, money in flight by age, and the payments that are in flight for longest."""
    return models.Reconciliation.model_validate(_state(visit))


@router.get("/api/v1/reconciliation/breaks")
def list_breaks(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> models.Breaks:
    """Open ones the oldest first, others the newest first, a page at a time."""
    page = _breaks(visit, wanted)
    return models.Breaks.model_validate({"rows": page.rows, "next": page.next})


@router.get("/api/v1/reconciliation/breaks/{break_id}")
def read_break(visit: Everybody, break_id: Id) -> models.Break:
    return models.Break.model_validate(_break(visit, break_id))


@router.post("/api/v1/reconciliation/breaks/{break_id}/note")
def note(visit: Staff, break_id: Id, noted: Noted) -> models.Break:
    """Write down what is known so far; it is taken, handed over and closed as its task."""
    visit.write(lambda tx: operations.note_break(tx, break_id, noted.note, visit.actor))
    return read_break(visit, break_id)


@router.get("/api/v1/reconciliation/bills")
def list_bills(visit: Staff, wanted: Annotated[WantedBills, Query()]) -> models.Bills:
    """Newest first, a page at a time."""
    page = visit.read(lambda tx: page_of_bills(tx, wanted.cursor))
    return models.Bills.model_validate({"rows": page.rows, "next": page.next})


@router.post("/api/v1/reconciliation/bills", max_body_size=MAX_BILL_BYTES)
def upload(visit: Staff, file: Annotated[UploadFile, File()]) -> models.Uploaded:
    """Read, store and compare an Alipay bill (CSV, GBK or UTF-8). The same bill again doubles nothing."""
    return models.Uploaded.model_validate(_upload(visit, file))


@router.get("/api/v1/reconciliation/bills/{bill_id}")
def read_bill(visit: Staff, bill_id: Id) -> models.Bill:
    return models.Bill.model_validate(_bill(visit, bill_id))


@router.get("/api/v1/reconciliation/bills/{bill_id}/lines")
def list_lines(visit: Staff, bill_id: Id, wanted: Annotated[WantedLines, Query()]) -> models.Lines:
    """The lines that this bill was the first to have, in its order."""
    _bill(visit, bill_id)
    page = visit.read(lambda tx: page_of_lines(tx, bill_id, wanted.state, wanted.cursor))
    return models.Lines.model_validate({"rows": page.rows, "next": page.next})


@router.get("/reconciliation", include_in_schema=False)
def reconciliation_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    bills = [] if visit.agent else visit.read(page_of_bills).rows
    return visit.show(
        "reconciliation.html",
        seen=_state(visit),
        page=_breaks(visit, wanted),
        wanted=wanted,
        bills=bills,
        owners={MINE: "我的", NOBODY: "还没有人领取"},
        moment=visit.read(now),
    )


@router.post("/reconciliation/bills", include_in_schema=False, max_body_size=MAX_BILL_BYTES)
def upload_one(visit: Staff, file: Annotated[UploadFile, File()]) -> Response:
    done = _upload(visit, file)
    said = (
        "这份账单以前核对过, 没有重复记账"
        if done["known"]
        else f"读入 {done['lines']} 行, 其中新的 {done['new_lines']} 行"
    )
    return visit.go(f"/reconciliation/bills/{done['bill_id']}", f"{said}; 新差异 {done['new_breaks']} 个")


@router.get("/reconciliation/bills/{bill_id}", include_in_schema=False)
def bill_page(visit: Staff, bill_id: Id, wanted: Annotated[WantedLines, Query()]) -> Response:
    page = visit.read(lambda tx: page_of_lines(tx, bill_id, wanted.state, wanted.cursor))
    return visit.show("bill.html", bill=_bill(visit, bill_id), page=page, wanted=wanted)


@router.get("/reconciliation/breaks/{break_id}", include_in_schema=False)
def break_page(visit: Everybody, break_id: Id) -> Response:
    return visit.show("break.html", one=_break(visit, break_id), moment=visit.read(now))


@router.post("/reconciliation/breaks/{break_id}/note", include_in_schema=False)
def note_one(visit: Staff, break_id: Id, form: Annotated[Noted, Form()]) -> Response:
    note(visit, break_id, form)
    return visit.go(f"/reconciliation/breaks/{break_id}", "备注已保存")


def _upload(visit: Visit, file: UploadFile) -> dict[str, Any]:
    return asdict(operations.upload_bill(visit.write, file.filename or "", file.file.read(), visit.actor))


def _state(visit: Visit) -> dict[str, Any]:
    agent = visit.agent
    return {
        "open": visit.read(lambda tx: open_breaks_by_kind(tx, agent)),
        "in_flight": visit.read(lambda tx: in_flight_by_age(tx, now(tx), agent)),
        "oldest": visit.read(lambda tx: oldest_in_flight(tx, agent)),
    }


def _breaks(visit: Visit, wanted: Wanted) -> Page:
    owner = wanted.owner
    if owner is not None and owner != NOBODY:
        owner = visit.actor if owner == MINE else actor_of(owner.lower())
    found = BreakFilter(wanted.state or "open", wanted.kind, owner, visit.agent or wanted.agent, wanted.order_no)
    page = visit.read(lambda tx: page_of_breaks(tx, found, wanted.cursor))
    return Page([_for(visit, row) for row in page.rows], page.next)


def _break(visit: Visit, break_id: int) -> dict[str, Any]:
    """Raises Missing, for another agent's and for what is no agent's too."""
    found = visit.read(lambda tx: show_break(tx, break_id))
    if found is None or visit.agent not in (None, found["agent"]):
        raise Missing(f"没有对账差异 {break_id}")
    return _for(visit, found)


def _for(visit: Visit, row: dict[str, Any]) -> dict[str, Any]:
    """What people here write to each other is not for agents."""
    return row if visit.agent is None else row | {"note": "", "evidence": None}


def _bill(visit: Visit, bill_id: int) -> dict[str, Any]:
    found = visit.read(lambda tx: show_bill(tx, bill_id))
    if found is None:
        raise Missing(f"没有账单 {bill_id}")
    return found
