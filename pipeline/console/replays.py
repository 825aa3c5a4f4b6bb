"""/dead-letters/replays 重放任务: many dead letters tried dry, replayed at a rate, watched, stopped half way."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations
from pipeline.console.dead_letter_models import Go, Item, Items, Job, Jobs, Progress, RowNumber, Selection
from pipeline.console.fields import MaybeText
from pipeline.console.problems import Missing
from pipeline.console.visit import ProvenStaff, Staff, Visit
from pipeline.operations_jobs import CHECKS_AT_ONCE, check_some
from pipeline.store.queries_replays import RESULTS, job, page_of_items, page_of_jobs

router = APIRouter()


class Paging(BaseModel):
    cursor: MaybeText = None


class WantedItems(Paging):
    result: MaybeText = None


class Waits(BaseModel):
    """How many wait for their replay."""

    id: int
    waiting: int


@router.get("/api/v1/dead-letters/replays")
def list_jobs(visit: Staff, wanted: Annotated[Paging, Query()]) -> Jobs:
    """The newest first, a page at a time."""
    page = visit.read(lambda tx: page_of_jobs(tx, wanted.cursor))
    return Jobs(rows=[Job.model_validate(row) for row in page.rows], next=page.next)


@router.post("/api/v1/dead-letters/replays")
def make_job(visit: Staff, chosen: Selection) -> Progress:
    """A dry run over `ids`, or over all that the filter finds (`all_found`); nothing is replayed before `start`."""
    return Progress.model_validate(_job(visit, _make(visit, chosen)))


@router.get("/api/v1/dead-letters/replays/{job_id}")
def read_job(visit: Staff, job_id: RowNumber) -> Progress:
    return Progress.model_validate(_job(visit, job_id))


@router.get("/api/v1/dead-letters/replays/{job_id}/items")
def list_items(visit: Staff, job_id: RowNumber, wanted: Annotated[WantedItems, Query()]) -> Items:
    """Its dead letters with what the dry run said and what each replay gave."""
    _job(visit, job_id)
    page = visit.read(lambda tx: page_of_items(tx, job_id, _result(wanted), wanted.cursor))
    return Items(rows=[Item.model_validate(row) for row in page.rows], next=page.next)


@router.post("/api/v1/dead-letters/replays/{job_id}/start")
def start_job(visit: ProvenStaff, job_id: RowNumber, how: Go) -> Waits:
    """Replay what the dry run let through, at this rate."""
    waits = visit.write(lambda tx: operations.start_job(tx, job_id, visit.actor, how.rate, how.agreed))
    return Waits(id=job_id, waiting=waits)


@router.post("/api/v1/dead-letters/replays/{job_id}/stop")
def stop_job(visit: Staff, job_id: RowNumber) -> Progress:
    """What was not replayed yet is left alone."""
    visit.write(lambda tx: operations.stop_job(tx, job_id, visit.actor))
    return Progress.model_validate(_job(visit, job_id))


@router.get("/dead-letters/replays", include_in_schema=False)
def jobs_page(visit: Staff, wanted: Annotated[Paging, Query()]) -> Response:
    return visit.show("replays.html", page=visit.read(lambda tx: page_of_jobs(tx, wanted.cursor)), wanted=wanted)


@router.post("/dead-letters/replays", include_in_schema=False)
def make(visit: Staff, form: Annotated[Selection, Form()]) -> Response:
    return visit.go(f"/dead-letters/replays/{_make(visit, form)}")


@router.get("/dead-letters/replays/{job_id}", include_in_schema=False)
def job_page(visit: Staff, job_id: RowNumber, wanted: Annotated[WantedItems, Query()]) -> Response:
    found = _job(visit, job_id)
    page = visit.read(lambda tx: page_of_items(tx, job_id, _result(wanted), wanted.cursor))
    return visit.show("replay.html", job=found, page=page, wanted=wanted)


@router.post("/dead-letters/replays/{job_id}/start", include_in_schema=False)
def start(visit: ProvenStaff, job_id: RowNumber, form: Annotated[Go, Form()]) -> Response:
    waits = visit.write(lambda tx: operations.start_job(tx, job_id, visit.actor, form.rate, form.agreed))
    return visit.go(f"/dead-letters/replays/{job_id}", f"开始重放 {waits} 条")


@router.post("/dead-letters/replays/{job_id}/stop", include_in_schema=False)
def stop(visit: Staff, job_id: RowNumber) -> Response:
    visit.write(lambda tx: operations.stop_job(tx, job_id, visit.actor))
    return visit.go(f"/dead-letters/replays/{job_id}", "已停止, 没有轮到的死信保持原样")


def _make(visit: Visit, chosen: Selection) -> int:
    wanted = chosen.filter() if chosen.all_found else None
    job_id = visit.write(lambda tx: operations.make_job(tx, visit.actor, wanted, chosen.ids))
    # A few are checked before the page is shown; of many the rest is checked by whoever runs jobs.
    visit.write(lambda tx: check_some(tx, job_id, visit.desk.replay_rules, CHECKS_AT_ONCE))
    return job_id


def _job(visit: Visit, job_id: int) -> dict[str, Any]:
    found = visit.read(lambda tx: job(tx, job_id))
    if found is None:
        raise Missing(f"没有重放任务 {job_id}")
    return found


def _result(wanted: WantedItems) -> str | None:
    return wanted.result if wanted.result in RESULTS else None
