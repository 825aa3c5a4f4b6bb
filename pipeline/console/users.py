"""/users 用户管理: who may sign in. A supervisor's page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations_users as operations
from pipeline.console.fields import MaybeText, Text, Words
from pipeline.console.visit import Supervisor, Visit
from pipeline.operations_users import Role
from pipeline.secret import Secret
from pipeline.store import users
from pipeline.store.queries_desk import list_agents

router = APIRouter()


class NewAccount(BaseModel):
    name: Text
    role: Role
    agent: MaybeText = None


class Change(BaseModel):
    act: Literal["disable", "enable", "reset-password", "reset-totp"]
    reason: Words


class User(BaseModel):
    """One person who may sign in."""

    id: int
    name: str
    role: Role
    agent: str | None
    password: bool
    totp: bool
    disabled: bool
    created_at: str
    signed_in_at: str | None


@router.get("/api/v1/users")
def list_users(visit: Supervisor) -> list[User]:
    """Everybody who may sign in, without anything secret."""
    return [User.model_validate(row) for row in visit.read(users.list_users)]


@router.get("/users", include_in_schema=False)
def users_page(visit: Supervisor) -> Response:
    return _page(visit)


@router.post("/users", include_in_schema=False)
def add(visit: Supervisor, form: Annotated[NewAccount, Form()]) -> Response:
    new = visit.write(lambda tx: operations.add_user(tx, form.name, form.role, form.agent, None, visit.actor))
    return _page(visit, new.name, new.link)


@router.post("/users/{name}", include_in_schema=False)
def change(visit: Supervisor, name: Text, form: Annotated[Change, Form()]) -> Response:
    if form.act == "reset-password":
        link = visit.write(lambda tx: operations.reset_password(tx, name, form.reason, visit.actor))
        return _page(visit, name, link)
    if form.act == "disable":
        visit.write(lambda tx: operations.disable_user(tx, name, form.reason, visit.actor))
        return visit.go("/users", f"{name} 已停用, 其登录已退出")
    if form.act == "enable":
        visit.write(lambda tx: operations.enable_user(tx, name, form.reason, visit.actor))
        return visit.go("/users", f"{name} 已启用")
    visit.write(lambda tx: operations.reset_totp(tx, name, form.reason, visit.actor))
    return visit.go("/users", f"{name} 的动态口令已重置, 下次登录时重新绑定")


def _page(visit: Visit, name: str | None = None, link: Secret | None = None) -> Response:
    """`link` is shown this once: it is not stored."""
    address = ""
    if link is not None:
        host = visit.request.headers.get("host", "")
        address = f"{visit.caller.scheme}://{host}/start/{link.reveal()}"
    people, agents = visit.read(lambda tx: (users.list_users(tx), list_agents(tx)))
    codes = {agent["code"]: agent["code"] for agent in agents}
    return visit.show("users.html", people=people, agents=codes, linked=name, link=address)
