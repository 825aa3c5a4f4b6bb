"""/settings/payment 代付设置: the one 12306 password, the accounts, the callback address. An agent its own, staff everybody's."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query
from pydantic import BaseModel
from starlette.responses import Response

from pipeline import operations
from pipeline.console.fields import MaybeText, SecretText, Text, Words
from pipeline.console.payment_settings_models import Accounts, CallbackTrial, Changed, PaymentSettings
from pipeline.console.problems import Missing
from pipeline.console.visit import Agent, Everybody, ProvenStaff, Staff, Visit
from pipeline.operations_agents import load_agent
from pipeline.operations_callback_trial import Trial, load_callee, record_trial, try_callback
from pipeline.operations_errors import Refused
from pipeline.secret import Secret
from pipeline.store.engine import Row
from pipeline.store.pages import Page
from pipeline.store.queries_desk import list_agents
from pipeline.store.queries_payment_settings import page_of_accounts, payment_settings

router = APIRouter()
PATH = "/settings/payment"


class Wanted(BaseModel):
    """Staff names the agent; an agent's is always its own."""

    agent: MaybeText = None
    cursor: MaybeText = None


class ChangedPassword(BaseModel):
    """`old` may be left out only where no password was set yet."""

    old: SecretText | None = None
    new: SecretText


class NewPassword(BaseModel):
    new: SecretText
    reason: Words


class OwnPassword(BaseModel):
    """The 12306 account whose own password is forgotten."""

    account: Text
    reason: Words


class Blocked(BaseModel):
    account: Text


def seen(visit: Everybody, agent: Text) -> Row[Any]:
    """The agent of the path. Raises Missing for another's, NotFound for none."""
    if visit.agent not in (None, agent):
        raise Missing
    return visit.read(lambda tx: load_agent(tx, agent))


Seen = Annotated[Row[Any], Depends(seen)]


@router.get("/api/v1/settings/payment")
def read_settings(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> PaymentSettings:
    """Whether a password is set and since when, and the callback address; nothing secret."""
    return PaymentSettings.model_validate(_settings(visit, _chosen(visit, wanted)))


@router.get("/api/v1/settings/payment/accounts")
def read_accounts(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Accounts:
    """The agent's 12306 accounts by login, a page at a time."""
    page = _accounts(visit, _chosen(visit, wanted), wanted)
    return Accounts.model_validate({"rows": page.rows, "next": page.next})


@router.post("/api/v1/settings/payment/{agent}/password")
def change_password(visit: Agent, seen: Seen, asked: ChangedPassword) -> Changed:
    """The agent's own act: the next payment uses the new password. A wrong `old` is a try; too many are refused."""
    old = asked.old or Secret("")
    visit.desk.payment_passwords.change(seen.code, old, asked.new, visit.presence, visit.actor)
    return Changed(agent=seen.code)


@router.post("/api/v1/settings/payment/{agent}/reset")
def reset_password(visit: ProvenStaff, seen: Seen, asked: NewPassword) -> Changed:
    """In the agent's place, without the old password."""
    visit.desk.payment_passwords.reset(seen.code, asked.new, asked.reason, visit.presence, visit.actor)
    return Changed(agent=seen.code)


@router.post("/api/v1/settings/payment/{agent}/unified")
def use_unified(visit: Everybody, seen: Seen, asked: OwnPassword) -> Changed:
    """An account with a password of its own uses the unified one again."""
    visit.write(lambda tx: operations.use_unified(tx, seen.code, asked.account, asked.reason, visit.actor))
    return Changed(agent=seen.code)


@router.post("/api/v1/settings/payment/{agent}/unblock")
def unblock(visit: Staff, seen: Seen, asked: Blocked) -> Changed:
    """The account was put right at 12306: refused tries and passwords are forgotten."""
    visit.write(lambda tx: operations.unblock(tx, asked.account, visit.actor))
    return Changed(agent=seen.code)


@router.post("/api/v1/settings/payment/{agent}/callback-test")
def test_callback(visit: Everybody, seen: Seen) -> CallbackTrial:
    """Call the callback address once, signed, about an order that does not exist."""
    return CallbackTrial.of(_trial(visit, seen))


@router.get(PATH, include_in_schema=False)
def settings_page(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    return _page(visit, wanted)


@router.post(PATH + "/{agent}/password", include_in_schema=False)
def change_here(visit: Agent, seen: Seen, form: Annotated[ChangedPassword, Form()]) -> Response:
    change_password(visit, seen, form)
    return visit.go(PATH, "12306账户密码已修改, 下一次支付起使用新密码")


@router.post(PATH + "/{agent}/reset", include_in_schema=False)
def reset_here(visit: ProvenStaff, seen: Seen, form: Annotated[NewPassword, Form()]) -> Response:
    reset_password(visit, seen, form)
    return _back(visit, seen, f"{seen.code} 的12306账户密码已重置, 下一次支付起使用新密码")


@router.post(PATH + "/{agent}/unified", include_in_schema=False)
def use_unified_here(visit: Everybody, seen: Seen, form: Annotated[OwnPassword, Form()]) -> Response:
    use_unified(visit, seen, form)
    return _back(visit, seen, f"{form.account} 改用统一密码")


@router.post(PATH + "/{agent}/unblock", include_in_schema=False)
def unblock_here(visit: Staff, seen: Seen, form: Annotated[Blocked, Form()]) -> Response:
    unblock(visit, seen, form)
    return _back(visit, seen, f"{form.account} 已解除限制")


@router.post(PATH, include_in_schema=False)
def test_here(visit: Everybody, wanted: Annotated[Wanted, Query()]) -> Response:
    """At the page's own address: it is shown with what came of the trial call."""
    return _page(visit, wanted, CallbackTrial.of(_trial(visit, _chosen(visit, wanted))))


def _chosen(visit: Visit, wanted: Wanted) -> Row[Any]:
    """Raises NotFound; Missing where staff names nobody."""
    code = visit.agent or wanted.agent
    if code is None:
        raise Missing("请指明代理商: ?agent=代码")
    return visit.read(lambda tx: load_agent(tx, code))


def _settings(visit: Visit, agent: Row[Any]) -> dict[str, Any]:
    return visit.read(lambda tx: payment_settings(tx, agent))


def _accounts(visit: Visit, agent: Row[Any], wanted: Wanted) -> Page:
    return visit.read(lambda tx: page_of_accounts(tx, agent.code, wanted.cursor))


def _trial(visit: Visit, agent: Row[Any]) -> Trial:
    """A call may hold a thread until its timeout: few at a time, so that pages always have one."""
    desk = visit.desk
    if not desk.trial_places.acquire(blocking=False):
        raise Refused("busy", "正在测试别的回调地址, 请几秒后再试")
    try:
        callee = visit.read(lambda tx: load_callee(tx, agent.code))
        trial = try_callback(desk.agent_caller, desk.service_keys, agent.code, callee)
    finally:
        desk.trial_places.release()
    visit.write(lambda tx: record_trial(tx, agent.code, trial, visit.actor))
    return trial


def _back(visit: Visit, agent: Row[Any], words: str) -> Response:
    return visit.go(PATH if visit.agent else f"{PATH}?agent={agent.code}", words)


def _page(visit: Visit, wanted: Wanted, trial: CallbackTrial | None = None) -> Response:
    codes = {} if visit.agent else {one["code"]: one["code"] for one in visit.read(list_agents)}
    if visit.agent is None and wanted.agent is None:
        return visit.show("payment-settings.html", codes=codes, wanted=wanted, settings=None, page=Page([]), trial=None)
    agent = _chosen(visit, wanted)
    settings, page = _settings(visit, agent), _accounts(visit, agent, wanted)
    return visit.show("payment-settings.html", codes=codes, wanted=wanted, settings=settings, page=page, trial=trial)
