"""/abnormal 出票异常: a person says what became of the money, and above the limit another one confirms it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from pipeline import operations
from pipeline.console.fields import MaybeText, Text, Words, Yuan, fen_of
from pipeline.console.problems import Missing
from pipeline.console.visit import ProvenStaff, ProvenSupervisor, Staff, Visit
from pipeline.operations import Closed, Fate
from pipeline.operations_errors import Refused
from pipeline.operations_users import Role
from pipeline.store.queries import show_order
from pipeline.store.queries_abnormal import abnormal, page_of_abnormal
from schemas.fields import MAX_FEN

router = APIRouter()


class Closing(BaseModel):
    """What was found out; `debited_fen`: what left our account, not for never_debited."""

    how: Fate
    debited_fen: Annotated[int | None, Field(ge=0, le=MAX_FEN)] = None
    evidence: Words


class ClosingForm(BaseModel):
    how: Fate
    debited: Annotated[Yuan | None, BeforeValidator(lambda text: text or None)] = None
    evidence: Words


class Confirmed(BaseModel):
    """`how` and `debited_fen` as the second person saw them; `evidence`: what that person checked."""

    how: Fate
    debited_fen: Annotated[int, Field(ge=0, le=MAX_FEN)]
    evidence: Words


class Denied(BaseModel):
    reason: Words


class Proposed(BaseModel):
    by: str
    how: Fate
    debited_fen: int
    evidence: str


class Abnormal(BaseModel):
    """A 支付完成,出票异常 that waits for a person; amounts in fen."""

    task: int
    order_no: str
    generation: int
    agent: str
    reason: str
    detail: str
    account: str | None
    held_order_no: str | None
    trade_no: str | None
    fare_fen: int
    hold_fen: int | None
    debited_fen: int | None
    submitted_at: str | None
    opened_at: str
    taken_by: str | None
    proposal: Proposed | None


class Abnormals(BaseModel):
    rows: list[Abnormal]
    next: str | None


class Done(BaseModel):
    """`done` false: it is proposed, and another person must confirm it."""

    order_no: str
    how: Fate
    done: bool
    proposed_by: str | None


class Paging(BaseModel):
    cursor: MaybeText = None


@router.get("/api/v1/abnormal")
def list_abnormal(visit: Staff, wanted: Annotated[Paging, Query()]) -> Abnormals:
    """The oldest first, a page at a time."""
    page = visit.read(lambda tx: page_of_abnormal(tx, wanted.cursor))
    return Abnormals(rows=[Abnormal.model_validate(row) for row in page.rows], next=page.next)


@router.post("/api/v1/abnormal/{order_no}/close")
def close(visit: ProvenStaff, order_no: Text, closing: Closing) -> Done:
    """Close it, or propose it where the amount needs a second person."""
    return _done(_close(visit, order_no, closing))


@router.post("/api/v1/abnormal/{order_no}/confirm")
def confirm(visit: ProvenSupervisor, order_no: Text, seen: Confirmed) -> Done:
    """The second person does what another proposed."""
    return _done(_confirm(visit, order_no, seen))


@router.post("/api/v1/abnormal/{order_no}/deny")
def deny(visit: Staff, order_no: Text, why: Denied) -> Abnormal:
    """Send a proposal back (supervisors), or take the own one back."""
    _deny(visit, order_no, why)
    return Abnormal.model_validate(_abnormal(visit, order_no))


@router.get("/abnormal", include_in_schema=False)
def abnormal_page(visit: Staff, wanted: Annotated[Paging, Query()]) -> Response:
    page = visit.read(lambda tx: page_of_abnormal(tx, wanted.cursor))
    return visit.show("abnormals.html", page=page, wanted=wanted)


@router.get("/abnormal/{order_no}", include_in_schema=False)
def closing_page(visit: Staff, order_no: Text) -> Response:
    order = visit.read(lambda tx: show_order(tx, order_no))
    if order is None:
        raise Missing(f"没有订单 {order_no}")
    one = visit.read(lambda tx: abnormal(tx, order_no))
    limit = visit.desk.settings.four_eyes_fen
    at_stake = 0 if one is None else max(one["hold_fen"] or one["fare_fen"], one["debited_fen"] or 0)
    return visit.show(
        "abnormal.html",
        one=one,
        order=order,
        four_eyes=at_stake > limit,
        limit_fen=limit,
        fates=[fate.value for fate in Fate],
        supervisor=visit.who.role is Role.SUPERVISOR,
    )


@router.post("/abnormal/{order_no}/close", include_in_schema=False)
def close_one(visit: ProvenStaff, order_no: Text, form: Annotated[ClosingForm, Form()]) -> Response:
    debited_fen = None if form.debited is None else fen_of(form.debited)
    closing = Closing(how=form.how, debited_fen=debited_fen, evidence=form.evidence)
    closed = _close(visit, order_no, closing)
    text = "已结案" if closed.done else "已提交, 等待主管复核: 复核前什么都没有改变"
    return visit.go(f"/abnormal/{closed.order_no}", text)


@router.post("/abnormal/{order_no}/confirm", include_in_schema=False)
def confirm_one(visit: ProvenSupervisor, order_no: Text, form: Annotated[Confirmed, Form()]) -> Response:
    closed = _confirm(visit, order_no, form)
    return visit.go(f"/abnormal/{closed.order_no}", "已复核并结案")


@router.post("/abnormal/{order_no}/deny", include_in_schema=False)
def deny_one(visit: Staff, order_no: Text, form: Annotated[Denied, Form()]) -> Response:
    _deny(visit, order_no, form)
    return visit.go(f"/abnormal/{_abnormal(visit, order_no)['order_no']}", "已退回, 可以重新提交")


def _close(visit: Visit, order_no: str, closing: Closing) -> Closed:
    return visit.write(
        lambda tx: operations.close_abnormal(
            tx, order_no, closing.how, closing.debited_fen, closing.evidence, visit.actor,
            four_eyes_fen=visit.desk.settings.four_eyes_fen, may_confirm=visit.who.role is Role.SUPERVISOR,
        )
    )  # fmt: skip


def _confirm(visit: Visit, order_no: str, seen: Confirmed) -> Closed:
    limit = visit.desk.settings.four_eyes_fen
    as_seen = (seen.how.value, seen.debited_fen)
    return visit.write(
        lambda tx: operations.confirm_closing(tx, order_no, as_seen, seen.evidence, visit.actor, four_eyes_fen=limit)
    )


def _deny(visit: Visit, order_no: str, why: Denied) -> None:
    may = visit.who.role is Role.SUPERVISOR
    visit.write(lambda tx: operations.deny_closing(tx, order_no, why.reason, visit.actor, may_deny=may))


def _abnormal(visit: Visit, order_no: str) -> dict[str, Any]:
    one = visit.read(lambda tx: abnormal(tx, order_no))
    if one is None:
        raise Refused("no_task", f"订单 {order_no} 没有待结案的任务")
    return one


def _done(closed: Closed) -> Done:
    return Done(order_no=closed.order_no, how=closed.how, done=closed.done, proposed_by=closed.proposed_by)
