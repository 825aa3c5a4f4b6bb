"""/account: the signed-in person's own account; 修改密码."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations_users as operations
from pipeline.console.fields import SecretText
from pipeline.console.visit import Everybody, Proven
from pipeline.operations_errors import Refused
from pipeline.operations_users import digest_of
from pipeline.passwords import check_new
from pipeline.store import users

router = APIRouter(include_in_schema=False)


class ChangedPassword(BaseModel):
    old: SecretText
    new: SecretText
    repeated: SecretText


@router.get("/account")
def account(visit: Everybody) -> Response:
    row = visit.read(lambda tx: users.by_name(tx, visit.who.name))
    assert row is not None  # noqa: S101 - there are sessions of users only
    return visit.show("account.html", user=users.user(row), places=visit.desk.sign_in.places_of(visit.who))


@router.post("/account/sessions")
def leave_elsewhere(visit: Proven) -> Response:
    kept = digest_of(visit.who.token)
    visit.write(lambda tx: operations.end_other_sessions(tx, visit.who.name, kept))
    return visit.go("/account", "其他地方的登录已退出")


@router.post("/account/password")
def change_password(visit: Everybody, form: Annotated[ChangedPassword, Form()]) -> Response:
    """The old password is a try to sign in like any other: it is counted, and too many are refused."""
    who, sign_in = visit.who, visit.desk.sign_in
    if form.new != form.repeated:
        raise Refused("not_repeated", "两次输入的新密码不一样")
    check_new(who.name, form.new)
    sign_in.check_password(who, form.old, visit.caller.address)
    digest, kept = sign_in.passwords.digest(form.new), digest_of(who.token)
    ended = visit.write(lambda tx: operations.set_password(tx, who.name, digest, but_session=kept))
    return visit.go("/account", f"密码已修改, 其他 {ended} 处登录已退出" if ended else "密码已修改")
