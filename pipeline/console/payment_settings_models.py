"""代付设置 as the JSON API gives it: nothing secret is in any of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from pipeline.operations_callback_trial import Trial, Verdict
from pipeline.ports import CallFailure

VERDICTS: Mapping[str, str] = {
    Verdict.TAKEN: "对方回答 ret 为 true",
    Verdict.ANSWERED_FALSE: "已连通, 对方按约定回答 ret 为 false: 它不认识这个测试订单, 或签名与它的密钥不符",
    Verdict.NOT_AS_AGREED: "对方有回答, 但不符约定: HTTP 状态是错误, 或 ret 既不是 true 也不是 false",
    Verdict.NOT_REACHED: "没有收到回答",
}
CALL_FAILURES: Mapping[str, str] = {
    CallFailure.NO_URL: "地址不是网址",
    CallFailure.NOT_HTTPS: "地址不是 https",
    CallFailure.USER_NAME: "地址里不能带用户名",
    CallFailure.NO_HOST: "地址里没有主机名",
    CallFailure.PORT: "1024 以下的端口只能是 https 的 443 (http 的 80)",
    CallFailure.NO_ADDRESS: "主机名查不到地址",
    CallFailure.DENIED: "主机名指向内部或保留的网络, 不允许调用",
    CallFailure.TIMEOUT: "15 秒内没有回答",
    CallFailure.BROKE_OFF: "连不上, 或连接中断",
}


class PaymentSettings(BaseModel):
    """`own_passwords`: how many of the agent's accounts have a password of their own and don't use the unified one."""

    agent: str
    unified_password: bool
    set_at: str | None
    callback: str
    own_passwords: int


class Account(BaseModel):
    """`blocked`: no login is made until staff unblocks it, or its lock ends."""

    account: str
    own_password_since: str | None
    refused_tries: int
    refused_passwords: int
    locked_until: str | None
    blocked: bool
    paused: bool


class Accounts(BaseModel):
    rows: list[Account]
    next: str | None


class Changed(BaseModel):
    agent: str


class CallbackTrial(BaseModel):
    """`works`: the address is reached and answers as agreed; `words` say what came of it, `answer` is what it said."""

    url: str
    works: bool
    verdict: Literal["taken", "answered_false", "not_as_agreed", "not_reached"]
    status: int | None
    answer: str
    words: str

    @classmethod
    def of(cls, trial: Trial) -> CallbackTrial:
        answer = trial.answer
        said = CALL_FAILURES[answer.failure] if answer.failure else VERDICTS[trial.verdict]
        return cls(
            url=trial.url,
            works=trial.works,
            verdict=trial.verdict.value,
            status=answer.status,
            answer="" if answer.failure else answer.answer,
            words=said,
        )
