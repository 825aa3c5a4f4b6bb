"""What the sandbox can do to us, one row per behaviour (INTERFACES section 7), and the texts it says it with.

Behaviour names occur in this package and in tests, nowhere else: daifu must not know what it is being done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# wire-protocols B.1, observed in public clients
NO_SUCH_LOGIN = "登录名不存在!"
WRONG_PASSWORD = "密码输入错误。如果输错次数超过4次，用户将被锁定。"  # noqa: S105 - 12306's words, not a password
LOCKED = "您的用户已经被锁定,锁定时间为20分钟,请稍后再试"
CAPTCHA_WRONG = "请输入正确的验证码"
NOT_LOGGED_IN = "用户未登录"
TAKEN_OVER = "您的账号已在其他地点登录，请重新登录！"
BUSY = "网络繁忙"
# wire-protocols B.7; the wording of `EXPIRED` and `NO_SUCH_ORDER` is ours, nobody recorded 12306's own
ALREADY_PAID = "已完成支付"
EXPIRED = "订单已超过支付时间"
NO_SUCH_ORDER = "没有该订单"
NO_BALANCE = "交易失败：账户余额不足"
NOT_PAYABLE = "交易失败：该订单不允许支付"
BAD_SIGN = "交易失败：签名错误"
PROCESSING = "支付处理中"


class Way(StrEnum):
    """How a request ends."""

    SUCCESS = "success"
    REFUSED = "refused"  # a page that says no
    PROCESSING = "processing"  # a page that says neither
    GARBAGE = "garbage"  # 200, unreadable
    REDIRECT = "redirect"  # 307 to itself
    ERROR = "error"  # 500
    DOWN = "503"
    MAINTENANCE = "maintenance"  # 200, the 系统维护 page, on every path
    SILENCE = "timeout"  # never answered
    RESET = "refuse"  # the connection is dropped


class Fault(Exception):
    """The request ends without an answer that means anything. `way` is how."""

    def __init__(self, way: Way) -> None:
        super().__init__(way.value)
        self.way = way


class Says(Exception):
    """12306 answers in words instead of data."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Debit(StrEnum):
    NOW = "now"
    NEVER = "never"
    LATE = "late"  # after the first question that was answered "not paid", at the form's deadline at the latest


class Shown(StrEnum):
    """Where 12306 lists the hold before anything of ours happens."""

    UNPAID = "unpaid"
    FINISHED = "finished"  # somebody else paid it
    NOWHERE = "nowhere"  # as if it had never been
    GONE = "gone"  # its time is over; still in the unpaid list for a while, with its past deadline


class LoginTrap(StrEnum):
    NONE = "none"
    PASSWORD_DIFFERS = "password_differs"  # noqa: S105 - the name of a trap
    LOCKED = "locked"
    CAPTCHA = "captcha"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row. The defaults are `ok`: the form is received, the money taken, the ticket issued, the answer a success."""

    # before the submit
    login: LoginTrap = LoginTrap.NONE
    shown: Shown = Shown.UNPAID
    price_up_fen: int = 0  # reads this much more everywhere, the pay form included
    stranger: bool = False  # the last passenger is somebody else
    busy_calls: int = 0  # so many calls of the account are answered 网络繁忙 first
    empty_lists: int = 0  # so many unpaid lists leave the hold out
    loses_session: bool = False  # the agent logs in right after our first login
    # at the submit, in this order
    receives: bool = True  # False: cut before the form is read, so nothing is journalled
    agent_pays: bool = False  # the agent's own payment lands first, by a trade that is not ours
    debit: Debit = Debit.NOW
    extra_fen: int = 0  # taken on top of the form's amount
    issues: bool = True  # a debit leads to a ticket
    refunds: bool = False  # and to its refund at once
    mutes: bool = False  # once debited, nobody answers about the hold again
    answer: Way = Way.SUCCESS
    refusal: str = ""  # the text of Way.REFUSED


BEHAVIOURS: dict[str, Behaviour] = {
    # paid and ticketed, with or without a legible answer
    "ok": Behaviour(),
    "busy_then_ok": Behaviour(busy_calls=3),
    "session_taken_over": Behaviour(loses_session=True),
    "unpaid_list_empty_at_first": Behaviour(empty_lists=2),
    "timeout_paid": Behaviour(answer=Way.SILENCE),
    "reset_after_pay": Behaviour(answer=Way.RESET),
    "error_paid": Behaviour(answer=Way.ERROR),
    "garbage": Behaviour(answer=Way.GARBAGE),
    "late_pay": Behaviour(debit=Debit.LATE, answer=Way.PROCESSING),
    # ended before a submit
    "wrong_password": Behaviour(login=LoginTrap.PASSWORD_DIFFERS),
    "account_locked": Behaviour(login=LoginTrap.LOCKED),
    "captcha": Behaviour(login=LoginTrap.CAPTCHA),
    "hold_not_found": Behaviour(shown=Shown.NOWHERE),
    "hold_expired": Behaviour(shown=Shown.GONE),
    "price_changed": Behaviour(price_up_fen=100),
    "passenger_mismatch": Behaviour(stranger=True),
    "already_paid": Behaviour(shown=Shown.FINISHED),
    # submitted, no money moved
    "refuse": Behaviour(debit=Debit.NEVER, answer=Way.REFUSED, refusal=NO_BALANCE),
    "reset_before_read": Behaviour(receives=False, debit=Debit.NEVER, answer=Way.RESET),
    "timeout_unpaid": Behaviour(debit=Debit.NEVER, answer=Way.SILENCE),
    "error_unpaid": Behaviour(debit=Debit.NEVER, answer=Way.ERROR),
    "redirect_307": Behaviour(debit=Debit.NEVER, answer=Way.REDIRECT),
    # money moved and something is wrong
    "paid_not_issued": Behaviour(issues=False),
    "takes_other_amount": Behaviour(extra_fen=100),
    "mute_after_pay": Behaviour(mutes=True, answer=Way.SILENCE),
    "paid_then_refunded": Behaviour(refunds=True),
    "agent_pays_after_look": Behaviour(agent_pays=True, debit=Debit.NEVER, answer=Way.ERROR),
}
