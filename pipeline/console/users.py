"""/users 用户管理: who may sign in.

A supervisor adds and manages everybody, an operator reads. An agent's main account adds and manages its own sub-accounts, of
which each sees itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations_users as operations
from pipeline.console.fields import MaybeText, Text, Words
from pipeline.console.problems import Missing
from pipeline.console.visit import Agent, Everybody, ProvenAgent, ProvenSupervisor, Supervisor, Visit
from pipeline.operations_users import Role
from pipeline.secret import Secret
from pipeline.store import users
from pipeline.store.queries_desk import list_agents

router = APIRouter()


class NewAccount(BaseModel):
    name: Text
    role: Role
    agent: MaybeText = None


class NewSubAccount(BaseModel):
    name: Text


class Change(BaseModel):
    act: Literal["disable", "enable", "sign-out", "reset-password", "reset-totp"]
    reason: Words


class User(BaseModel):
    """One person who may sign in. `sub`: added by its agent's main account."""

    id: int
    name: str
    role: Role
    agent: str | None
    sub: bool
    password: bool
    totp: bool
    disabled: bool
    created_at: str
    signed_in_at: str | None


class Added(BaseModel):
    """`start`: the path of a one-time link by which the person sets a password; it is told this once."""

    name: str
    start: str | None


def sub_account(visit: Agent, name: Text) -> str:
    """An account of the path that this main account manages. Raises Missing."""
    if not visit.read(lambda tx: operations.is_own_sub_account(tx, visit.who.user_id, name)):
        raise Missing
    return name


SubAccount = Annotated[str, Depends(sub_account)]


@router.get("/api/v1/users")
def list_users(visit: Everybody) -> list[User]:
    """Who may sign in, without anything secret: to an agent's main account those of its agent, to a sub-account itself."""
    return [User.model_validate(row) for row in _people(visit)]


@router.post("/api/v1/users")
def add_user(visit: ProvenSupervisor, asked: NewAccount) -> Added:
    """A new user, who sets a password by a one-time link."""
    new = visit.write(lambda tx: operations.add_user(tx, asked.name, asked.role, asked.agent, None, visit.actor))
    return Added(name=new.name, start=_start(new.link))


@router.post("/api/v1/sub-accounts")
def add_sub_account(visit: ProvenAgent, asked: NewSubAccount) -> Added:
    """A new sub-account of one's own agent; only its main account may."""
    new = visit.write(lambda tx: operations.add_sub_account(tx, visit.who.user_id, asked.name, visit.actor))
    return Added(name=new.name, start=_start(new.link))


@router.post("/api/v1/users/{name}")
def change_user(visit: ProvenSupervisor, name: Text, asked: Change) -> Added:
    """Disable or enable a user, end its sessions, or reset the password (`start` is a link to a new one) or the TOTP device."""
    return Added(name=name, start=_start(_change(visit, name, asked)))


@router.post("/api/v1/sub-accounts/{name}")
def change_sub_account(visit: ProvenAgent, name: SubAccount, asked: Change) -> Added:
    """The same for a sub-account of one's own agent."""
    return Added(name=name, start=_start(_change(visit, name, asked)))


@router.get("/users", include_in_schema=False)
def users_page(visit: Everybody) -> Response:
    return _page(visit)


@router.post("/users", include_in_schema=False)
def add_here(visit: ProvenSupervisor, form: Annotated[NewAccount, Form()]) -> Response:
    added = add_user(visit, form)
    return _page(visit, added.name, added.start)


@router.post("/sub-accounts", include_in_schema=False)
def add_sub_here(visit: ProvenAgent, form: Annotated[NewSubAccount, Form()]) -> Response:
    added = add_sub_account(visit, form)
    return _page(visit, added.name, added.start)


@router.post("/users/{name}", include_in_schema=False)
def change_here(visit: ProvenSupervisor, name: Text, form: Annotated[Change, Form()]) -> Response:
    return _changed(visit, name, form)


@router.post("/sub-accounts/{name}", include_in_schema=False)
def change_sub_here(visit: ProvenAgent, name: SubAccount, form: Annotated[Change, Form()]) -> Response:
    return _changed(visit, name, form)


# A form that answers with a page, since its link is shown once, leaves its own address in the browser: that leads to the list.
@router.get("/users/{name}", include_in_schema=False)
def back_from_change(visit: Supervisor, name: Text) -> Response:
    return visit.go("/users")


@router.get("/sub-accounts", include_in_schema=False)
def back_from_sub_account(visit: Agent) -> Response:
    return visit.go("/users")


@router.get("/sub-accounts/{name}", include_in_schema=False)
def back_from_sub_change(visit: Agent, name: SubAccount) -> Response:
    return visit.go("/users")


def _people(visit: Visit) -> list[dict[str, Any]]:
    if visit.agent is None:
        return visit.read(users.list_users)
    return visit.read(lambda tx: users.users_beside(tx, visit.who.user_id))


def _change(visit: Visit, name: str, asked: Change) -> Secret | None:
    """Returns the token of a new link, where the password was reset."""
    if asked.act == "reset-password":
        return visit.write(lambda tx: operations.reset_password(tx, name, asked.reason, visit.actor))
    act = {
        "disable": operations.disable_user,
        "enable": operations.enable_user,
        "sign-out": operations.end_sessions,
        "reset-totp": operations.reset_totp,
    }
    visit.write(lambda tx: act[asked.act](tx, name, asked.reason, visit.actor))
    return None


def _changed(visit: Visit, name: str, asked: Change) -> Response:
    token = _change(visit, name, asked)
    if token is not None:
        return _page(visit, name, _start(token))
    done = {
        "disable": "已停用, 其登录已退出",
        "enable": "已启用",
        "sign-out": "在各处的登录已退出",
        "reset-totp": "的动态口令已重置, 下次登录时重新绑定",
    }
    return visit.go("/users", f"{name} {done[asked.act]}")


def _start(token: Secret | None) -> str | None:
    return None if token is None else f"/start/{token.reveal()}"


def _page(visit: Visit, name: str | None = None, start: str | None = None) -> Response:
    """`start` is shown this once: it is not stored."""
    host = visit.request.headers.get("host", "")
    people = _people(visit)
    me = next((one for one in people if one["name"] == visit.who.name), None)
    codes = {one["code"]: one["code"] for one in visit.read(list_agents)} if visit.agent is None else {}
    return visit.show(
        "users.html",
        people=people,
        agents=codes,
        linked=name,
        link="" if start is None else f"{visit.caller.scheme}://{host}{start}",
        supervises=visit.who.role is Role.SUPERVISOR,
        is_main=visit.agent is not None and me is not None and not me["sub"],
    )
