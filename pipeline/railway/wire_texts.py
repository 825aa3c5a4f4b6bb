"""12306's and the cashier's own words, and what each means. Source of every text: wire-protocols, section in brackets.

A text that stands in no table proves nothing: it is Garbled, with the text as detail.
"""

from __future__ import annotations

from typing import Final

from pipeline.errors import Busy, Declined, Garbled, LoginRefused, SessionLost, Unreachable, UpstreamError
from pipeline.railway.http_errors import clip
from pipeline.reasons import Reason

MAINTENANCE: Final = "系统维护"  # [B.1] the nightly page, on every path

SESSION_LOST: Final = (
    "其他地点登录",  # [B.1] checkUser: another login took the account over
    "用户未登录",  # [B.1] uamtk, code 1
    "用户未登陆",  # [B.1] 19e list 1301, its spelling
)

BUSY: Final = (
    "网络繁忙",  # [B.1]
    "网络可能存在问题，请您重试一下！",  # [B.1] 19e list 0005; [B.7]
    "当前访问用户过多",  # [B.1] old site
    "操作频率过快",  # [B.1] 19e list 0006
    "请求超时",  # [B.1] 19e list 0003
    "系统繁忙",  # [B.6] "系统繁忙，请稍后重试"
)

LOGIN_REFUSED: Final[tuple[tuple[str, Reason], ...]] = (  # beginnings: 12306 varies what follows (counts, minutes)
    ("登录名不存在", Reason.WRONG_PASSWORD),  # [B.1] code 1; 19e list 1101
    ("密码输入错误", Reason.WRONG_PASSWORD),  # [B.1] code 1: "…如果输错次数超过4次，用户将被锁定。"
    ("您的用户已经被锁定", Reason.ACCOUNT_LOCKED),  # [B.1] "…锁定时间为20分钟,请稍后再试"
    ("验证码校验失败", Reason.CAPTCHA_REQUIRED),  # [B.1] codes 5 and 8
    ("请输入正确的验证码", Reason.CAPTCHA_REQUIRED),  # [B.1] old site
)

PAY_STEP_DECLINED: Final[dict[str, Reason]] = {  # exact texts: the allow-list of refusals before the submit
    "该订单不允许支付": Reason.PAY_REFUSED,  # [B.7] 19e robot
    "没有该订单": Reason.HOLD_NOT_FOUND,  # the wire decisions shared with the sandbox
}

PAY_FAILED: Final = "交易失败"  # [B.3 row 5] epay's failure page

PAY_STEP_LOOK_AGAIN: Final = frozenset(
    {  # never a refusal: the order itself must be read again
        "已完成支付",  # [B.7] 19e robot
        "已出票",  # [B.7] 19e robot
        "该订单已支付",  # [B.7] 12306's own words not found
        "订单已超过支付时间",  # [B.7] 12306's own words not found
        PAY_FAILED,
    }
)

SUBMIT_REFUSED: Final[dict[str, str]] = {  # exact texts of the cashier's answer -> source. No money moved.
    "交易失败：账户余额不足": "[B.7] 交易失败, with the cashier's balance text as the sandbox shows it",
    "交易失败：该订单不允许支付": "[B.7] 交易失败 with the robot's 该订单不允许支付",
}


def common_failure(text: str) -> UpstreamError | None:
    """What any 12306 call may say: maintenance, session lost, busy. None for every other text."""
    if MAINTENANCE in text:
        return Unreachable("railway", clip(text))
    if any(words in text for words in SESSION_LOST):
        return SessionLost("railway", clip(text))
    if any(words in text for words in BUSY):
        return Busy("railway", clip(text))
    return None


def failure(text: str) -> UpstreamError:
    """The error for a 12306 message that stands where an answer should be."""
    return common_failure(text) or Garbled("railway", clip(text) or "an answer without data and without a message")


def login_failure(text: str) -> UpstreamError:
    """The error for a refused login. A text that stands in no table is Garbled: it may mean a wrong password all the same."""
    for beginning, reason in LOGIN_REFUSED:
        if text.startswith(beginning):
            return LoginRefused(reason.value, clip(text))
    return failure(text)


def pay_step_failure(text: str) -> UpstreamError:
    """The error for a refusal on the way to the payment form: `Declined` only for an exact, listed text."""
    reason = PAY_STEP_DECLINED.get(text.strip())
    if reason is not None:
        return Declined("railway", reason.value, clip(text))
    if text.strip() in PAY_STEP_LOOK_AGAIN:
        return Busy("railway", clip(text))
    return failure(text)
