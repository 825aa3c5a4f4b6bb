"""Signing in and out: /login, its second step, one-time links."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Form
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from pipeline import operations_users as operations
from pipeline.console.fields import SecretText, Text
from pipeline.console.visit import Anybody, Everybody, Visit
from pipeline.operations_errors import Refused
from pipeline.operations_sign_in import Session, SignInRefused
from pipeline.passwords import check_new
from pipeline.secret import Secret

router = APIRouter(include_in_schema=False)
_PATH = re.compile(r"/(?![/\\])[^\\\s\x00-\x1f]*")
WRONG = "用户名或密码不对, 或账户已停用"
WRONG_CODE = "动态口令不对或已用过, 请等下一个"


class Credentials(BaseModel):
    name: Text
    password: SecretText
    next: Text = ""


class Code(BaseModel):
    code: Text
    next: Text = ""


class Proof(BaseModel):
    """The code, or the password of who has none."""

    proof: SecretText
    next: Text = ""


class NewPassword(BaseModel):
    name: Text = ""
    password: SecretText
    repeated: SecretText


def inside(path: str) -> str:
    """A page of ours to go on to; anything else is the first page."""
    return path if _PATH.fullmatch(path) else "/"


@router.get("/login")
def ask(visit: Anybody, next: Text = "") -> Response:  # noqa: A002 - the name in the address
    if visit.session is not None:
        return RedirectResponse(inside(next), status_code=303)
    if visit.unfinished is not None:
        return _second_step(visit, visit.unfinished, next)
    if next and visit.request.headers.get("sec-fetch-site") == "cross-site":
        # A link from elsewhere came without the strict cookie; from our own page the browser sends it.
        return visit.show("passing.html", target=inside(next))
    return visit.show("login.html", next=next, name="", problem="")


@router.post("/login")
def password(visit: Anybody, form: Annotated[Credentials, Form()]) -> Response:
    try:
        session = visit.desk.sign_in.by_password(form.name, form.password, visit.caller.address)
    except SignInRefused:
        return visit.show("login.html", status=401, next=form.next, name=form.name, problem=WRONG)
    return visit.begin(session, _on_to(session, form.next))


@router.post("/login/code")
def code(visit: Anybody, form: Annotated[Code, Form()]) -> Response:
    if visit.unfinished is None or visit.session is not None:
        return RedirectResponse("/login", status_code=303)
    try:
        session = visit.desk.sign_in.by_code(visit.unfinished, form.code, visit.caller.address)
    except SignInRefused:
        return _second_step(visit, visit.unfinished, form.next, WRONG_CODE)
    return visit.begin(session, inside(form.next))


@router.get("/confirm")
def ask_again(visit: Everybody, next: Text = "") -> Response:  # noqa: A002 - the name in the address
    return visit.show("confirm.html", next=inside(next), problem="")


@router.post("/confirm")
def prove(visit: Everybody, form: Annotated[Proof, Form()]) -> Response:
    """What can hardly be undone asks for it where the sign-in was a while ago."""
    try:
        session = visit.desk.sign_in.prove(visit.who, form.proof, visit.caller.address)
    except SignInRefused:
        problem = "密码不对" if visit.agent else WRONG_CODE
        return visit.show("confirm.html", status=401, next=inside(form.next), problem=problem)
    return visit.begin(session, inside(form.next))


@router.post("/logout")
def leave(visit: Anybody) -> Response:
    if visit.unfinished is not None:
        visit.desk.sign_in.sign_out(visit.unfinished, visit.caller.address)
    return visit.end("/login")


@router.get("/start/{token}")
def look(visit: Anybody, token: Text) -> Response:
    """Looking uses nothing up: mail scanners and chats open links too."""
    holder = visit.read(lambda tx: operations.holder_of(tx, Secret(token)))
    return visit.show("start.html", holder=holder, problem="", name="")


@router.post("/start/{token}")
def start(visit: Anybody, token: Text, form: Annotated[NewPassword, Form()]) -> Response:
    secret = Secret(token)
    holder = visit.read(lambda tx: operations.holder_of(tx, secret))
    passwords = visit.desk.sign_in.passwords
    try:
        if form.password != form.repeated:
            raise Refused("not_repeated", "两次输入的密码不一样")
        check_new(holder.name or form.name, form.password)
        digest = passwords.digest(form.password)
        name = visit.write(lambda tx: operations.use_link(tx, secret, form.name, digest))
    except Refused as refused:
        return visit.show("start.html", status=409, holder=holder, problem=refused.words, name=form.name)
    session = visit.desk.sign_in.by_link(name, visit.caller.address)
    return visit.begin(session, _on_to(session, ""))


def _on_to(session: Session, path: str) -> str:
    if session.stage == "full":
        return inside(path)
    return f"/login?next={inside(path)}" if inside(path) != "/" else "/login"


def _second_step(visit: Visit, session: Session, path: str, problem: str = "") -> Response:
    status = 401 if problem else 200
    if session.stage == "enrol":
        totp = visit.desk.sign_in.enrolment(session)
        return visit.show("enrol.html", status=status, totp=totp, next=path, problem=problem)
    return visit.show("code.html", status=status, next=path, problem=problem)
