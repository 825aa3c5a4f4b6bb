"""/tasks 任务: what only a person can finish; taken, handed over, closed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations
from pipeline.console.fields import MaybeText, Text, Words
from pipeline.console.problems import Missing
from pipeline.console.visit import Staff, Visit
from pipeline.operations_tasks import MAY_HAVE_TASKS
from pipeline.operations_users import actor_of
from pipeline.store import users
from pipeline.store.clock import now
from pipeline.store.pages import Page
from pipeline.store.queries_tasks import NOBODY, TaskFilter, open_by_kind, page_of_tasks, show_task

router = APIRouter()
TaskId = Annotated[int, Path(ge=1, le=2**63 - 1)]
MINE = "me"


class Wanted(BaseModel):
    """`owner`: a name, `me`, or `-` for what nobody has taken. Without `state`: open ones."""

    state: Literal["", "open", "closed", "all"] = "open"
    kind: MaybeText = None
    owner: MaybeText = None
    order_no: MaybeText = None
    cursor: MaybeText = None


class HandedOver(BaseModel):
    to: Text
    reason: Words


class Closed(BaseModel):
    """What was done, and what proves it."""

    resolution: Words
    evidence: Words


class Task(BaseModel):
    """`amount_fen`: what is at stake. `by_itself`: it closes with what it waits for, never by hand. `order_no`: none for a line
    of a bill that no order explains; `break_id`: what does not agree with the bill."""

    id: int
    kind: str
    words: str
    order_no: str | None
    agent: str | None
    break_id: int | None
    amount_fen: int | None
    reason: str
    next_step: str
    by_itself: bool
    opened_at: str
    taken_by: str | None
    taken_at: str | None
    closed_by: str | None
    closed_at: str | None
    resolution: str | None
    evidence: str | None


class Tasks(BaseModel):
    rows: list[Task]
    next: str | None


@router.get("/api/v1/tasks")
def list_tasks(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Tasks:
    """Open ones the oldest first, others the newest first, a page at a time."""
    page = _page(visit, wanted)
    return Tasks(rows=[Task.model_validate(row) for row in page.rows], next=page.next)


@router.get("/api/v1/tasks/{task_id}")
def read_task(visit: Staff, task_id: TaskId) -> Task:
    return Task.model_validate(_task(visit, task_id))


@router.post("/api/v1/tasks/{task_id}/take")
def take(visit: Staff, task_id: TaskId) -> Task:
    """Say that you work on it. Refused where somebody else does."""
    visit.write(lambda tx: operations.take_task(tx, task_id, visit.actor))
    return read_task(visit, task_id)


@router.post("/api/v1/tasks/{task_id}/hand-over")
def hand_over(visit: Staff, task_id: TaskId, given: HandedOver) -> Task:
    """Another operator or supervisor works on it from now on, whoever had it."""
    visit.write(lambda tx: operations.hand_over_task(tx, task_id, given.to, given.reason, visit.actor))
    return read_task(visit, task_id)


@router.post("/api/v1/tasks/{task_id}/close")
def close(visit: Staff, task_id: TaskId, found: Closed) -> Task:
    """Close it with what was found. Refused where its kind closes by itself."""
    visit.write(lambda tx: operations.close_task(tx, task_id, found.resolution, found.evidence, visit.actor))
    return read_task(visit, task_id)


@router.get("/tasks", include_in_schema=False)
def tasks_page(visit: Staff, wanted: Annotated[Wanted, Query()]) -> Response:
    return visit.show(
        "tasks.html",
        page=_page(visit, wanted),
        wanted=wanted,
        kinds=visit.read(open_by_kind),
        owners={MINE: "我的", NOBODY: "还没有人领取", **{name: name for name in _people(visit)}},
        moment=visit.read(now),
    )


@router.get("/tasks/{task_id}", include_in_schema=False)
def task_page(visit: Staff, task_id: TaskId) -> Response:
    people = {name: name for name in _people(visit)}
    return visit.show("task.html", task=_task(visit, task_id), people=people, moment=visit.read(now))


@router.post("/tasks/{task_id}/take", include_in_schema=False)
def take_one(visit: Staff, task_id: TaskId) -> Response:
    take(visit, task_id)
    return visit.go(f"/tasks/{task_id}", "已领取")


@router.post("/tasks/{task_id}/hand-over", include_in_schema=False)
def hand_one_over(visit: Staff, task_id: TaskId, form: Annotated[HandedOver, Form()]) -> Response:
    hand_over(visit, task_id, form)
    return visit.go(f"/tasks/{task_id}", f"已转交 {form.to}")


@router.post("/tasks/{task_id}/close", include_in_schema=False)
def close_one(visit: Staff, task_id: TaskId, form: Annotated[Closed, Form()]) -> Response:
    close(visit, task_id, form)
    return visit.go(f"/tasks/{task_id}", "已关闭")


def _page(visit: Visit, wanted: Wanted) -> Page:
    owner = wanted.owner
    if owner is not None and owner != NOBODY:
        owner = visit.actor if owner == MINE else actor_of(owner.lower())
    found = TaskFilter(wanted.state or "open", wanted.kind, owner, wanted.order_no)
    return visit.read(lambda tx: page_of_tasks(tx, found, wanted.cursor))


def _task(visit: Visit, task_id: int) -> dict[str, Any]:
    task = visit.read(lambda tx: show_task(tx, task_id))
    if task is None:
        raise Missing(f"没有任务 {task_id}")
    return task


def _people(visit: Visit) -> list[str]:
    """Who may work on a task."""
    known = visit.read(users.list_users)
    return [str(one["name"]) for one in known if one["role"] in MAY_HAVE_TASKS and not one["disabled"]]
