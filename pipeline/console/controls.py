"""/controls 暂停与恢复: stages, agents, 12306 accounts; who paused what and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations
from pipeline.console import words
from pipeline.console.fields import Text, Words
from pipeline.console.visit import Staff
from pipeline.operations import Scope
from pipeline.store.clock import now
from pipeline.store.queries_controls import paying_paused
from pipeline.store.queries_desk import list_agents, list_pauses
from pipeline.store.work_keys import STAGES

router = APIRouter()


class Asked(BaseModel):
    """What to pause or resume: a stage, an agent by code, a 12306 account by login."""

    scope: Scope
    name: Text
    reason: Words


class Pause(BaseModel):
    scope: Scope
    name: str
    reason: str
    actor: str
    at: str


class Paused(BaseModel):
    """`closed_attempts`: open attempts without an intent that the pause stopped."""

    scope: Scope
    name: str
    paused: bool
    closed_attempts: int


@router.get("/api/v1/controls")
def read_pauses(visit: Staff) -> list[Pause]:
    """What is paused, by whom and why."""
    return [Pause.model_validate(one) for one in visit.read(list_pauses)]


@router.post("/api/v1/controls/pause")
def pause(visit: Staff, asked: Asked) -> Paused:
    """Hold back what has no payment intent yet; questions about submitted payments go on."""
    closed = visit.write(lambda tx: operations.pause(tx, asked.scope, asked.name, asked.reason, visit.actor))
    return Paused(scope=asked.scope, name=asked.name, paused=True, closed_attempts=closed)


@router.post("/api/v1/controls/resume")
def resume(visit: Staff, asked: Asked) -> Paused:
    """End a pause; what waited is woken at once."""
    visit.write(lambda tx: operations.resume(tx, asked.scope, asked.name, asked.reason, visit.actor))
    return Paused(scope=asked.scope, name=asked.name, paused=False, closed_attempts=0)


@router.get("/controls", include_in_schema=False)
def controls_page(visit: Staff) -> Response:
    pauses = visit.read(list_pauses)
    agents = visit.read(list_agents)
    return visit.show(
        "controls.html",
        stages=STAGES,
        paused={one["name"]: one for one in pauses if one["scope"] == Scope.STAGE},
        parties=[one for one in pauses if one["scope"] != Scope.STAGE],
        agents={str(one["code"]): str(one["code"]) for one in agents},
        logins=sorted({login for one in agents for login in one["accounts"]}),
        recovering=visit.read(paying_paused),
        moment=visit.read(now),
    )


@router.post("/controls/pause", include_in_schema=False)
def pause_one(visit: Staff, form: Annotated[Asked, Form()]) -> Response:
    done = pause(visit, form)
    stopped = f", 停下 {done.closed_attempts} 个还没有提交的支付" if done.closed_attempts else ""
    return visit.go("/controls", f"{_called(form)} 已暂停{stopped}")


@router.post("/controls/resume", include_in_schema=False)
def resume_one(visit: Staff, form: Annotated[Asked, Form()]) -> Response:
    resume(visit, form)
    return visit.go("/controls", f"{_called(form)} 已恢复")


def _called(asked: Asked) -> str:
    name = words.STAGES.get(asked.name, asked.name) if asked.scope is Scope.STAGE else asked.name
    return f"{words.SCOPES[asked.scope]} {name}"
