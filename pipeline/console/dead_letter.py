"""/dead-letters/{letter_id}: one dead letter, what a replay would do, and what people do with it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.responses import Response

from pipeline import operations, operations_raw_edit
from pipeline.console.dead_letter_models import Agreed, Noted, Now, Plan, Reasoned, Result, RowNumber
from pipeline.console.plain import plain
from pipeline.console.visit import Staff, Visit
from pipeline.operations import ReplayResult
from pipeline.store.engine import Transaction
from pipeline.store.queries import shown
from pipeline.store.queries_controls import pauses_on
from pipeline.store.queries_desk import letter as as_shown
from pipeline.store.queries_letters import others_of_order, work_of_letter
from pipeline.store.queries_replays import jobs_of_letter

router = APIRouter()


@router.get("/api/v1/dead-letters/{letter_id}")
def read_letter(visit: Staff, letter_id: RowNumber) -> Plan:
    """One dead letter, and what a replay would do now."""
    return Plan.model_validate(visit.read(lambda tx: _planned(visit, tx, letter_id)))


@router.post("/api/v1/dead-letters/{letter_id}/replay")
def replay(visit: Staff, letter_id: RowNumber, how: Agreed) -> Result:
    """Do its work again, under guards that hold now; `refused` says why. Nothing that the agent was told of without `agreed`."""
    result = _replay(visit, letter_id, how)
    return Result(id=result.id, result="replay" if result.result == "replayed" else "refused", why=result.why)


@router.post("/api/v1/dead-letters/{letter_id}/discard")
def discard(visit: Staff, letter_id: RowNumber, why: Reasoned) -> Now:
    visit.write(lambda tx: operations.discard(tx, letter_id, why.reason, visit.actor))
    return Now(id=letter_id, state="discarded")


@router.post("/api/v1/dead-letters/{letter_id}/restore")
def restore(visit: Staff, letter_id: RowNumber) -> Now:
    """A discarded one is open again."""
    visit.write(lambda tx: operations.restore(tx, letter_id, visit.actor))
    return Now(id=letter_id, state="open")


@router.post("/api/v1/dead-letters/{letter_id}/note")
def note(visit: Staff, letter_id: RowNumber, what: Noted) -> Plan:
    """What people should know about it; takes the place of what was noted before."""
    visit.write(lambda tx: operations.note(tx, letter_id, what.note, visit.actor))
    return Plan.model_validate(visit.read(lambda tx: _planned(visit, tx, letter_id)))


@router.get("/dead-letters/{letter_id}", include_in_schema=False)
def letter_page(visit: Staff, letter_id: RowNumber) -> Response:
    def work(tx: Transaction) -> dict[str, Any]:
        one = _planned(visit, tx, letter_id)
        order, message = work_of_letter(tx, one)
        return {
            "letter": one,
            "order": order,
            "message": None if message is None else operations_raw_edit.masked_text(json.dumps(message).encode()),
            "others": others_of_order(tx, one),
            "jobs": jobs_of_letter(tx, letter_id),
            "pauses": pauses_on(tx, one["order_no"]) if one["order_no"] else [],
        }

    return visit.show("dead-letter.html", **visit.read(work))


@router.post("/dead-letters/{letter_id}/replay", include_in_schema=False)
def replay_one(visit: Staff, letter_id: RowNumber, form: Annotated[Agreed, Form()]) -> Response:
    result = _replay(visit, letter_id, form)
    if result.result == "refused":
        return visit.go(f"/dead-letters/{letter_id}", f"没有重放: {plain(result.why)}", "refused")
    return visit.go(f"/dead-letters/{letter_id}", f"已重放。{plain(result.why)}")


@router.post("/dead-letters/{letter_id}/discard", include_in_schema=False)
def discard_one(visit: Staff, letter_id: RowNumber, form: Annotated[Reasoned, Form()]) -> Response:
    visit.write(lambda tx: operations.discard(tx, letter_id, form.reason, visit.actor))
    return visit.go(f"/dead-letters/{letter_id}", "已丢弃, 需要时可以恢复")


@router.post("/dead-letters/{letter_id}/restore", include_in_schema=False)
def restore_one(visit: Staff, letter_id: RowNumber) -> Response:
    visit.write(lambda tx: operations.restore(tx, letter_id, visit.actor))
    return visit.go(f"/dead-letters/{letter_id}", "已恢复")


@router.post("/dead-letters/{letter_id}/note", include_in_schema=False)
def note_one(visit: Staff, letter_id: RowNumber, form: Annotated[Noted, Form()]) -> Response:
    visit.write(lambda tx: operations.note(tx, letter_id, form.note, visit.actor))
    return visit.go(f"/dead-letters/{letter_id}", "备注已保存" if form.note else "备注已清除")


def _planned(visit: Visit, tx: Transaction, letter_id: int) -> dict[str, Any]:
    row = operations.find_letter(tx, letter_id)
    plan = operations.would_replay(tx, row, visit.desk.replay_rules)
    told_at = shown(plan.told_at)
    return as_shown(row) | {"would": plan.result, "why": plan.why, "does": plan.does, "told_at": told_at}


def _replay(visit: Visit, letter_id: int, how: Agreed) -> ReplayResult:
    return visit.write(
        lambda tx: operations.replay(
            tx, letter_id, visit.actor, visit.desk.replay_rules, agreed=how.agreed, needs_agreement=True
        )
    )
