"""Why a purchase ended as it did, or why a stage gave up: DESIGN section 5's table as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    PURCHASED = "purchased"
    HELD_UNPAID = "held_unpaid"
    PAID_ABNORMAL = "paid_abnormal"


class Replay(StrEnum):
    """When a dead letter's work may be done again."""

    AFTER_ACCOUNT = "after_account"  # once the account is put right
    NEVER = "never"
    AFTER_LOOK = "after_look"  # after a person looked
    AFTER_TOP_UP = "after_top_up"
    AT_ONCE = "at_once"
    AS_IT_STANDS = "as_it_stands"  # raw, edited, or resent


class Reason(StrEnum):
    CREDENTIAL_MISSING = "credential_missing"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a reason code
    ACCOUNT_LOCKED = "account_locked"
    CAPTCHA_REQUIRED = "captcha_required"
    HOLD_NOT_FOUND = "hold_not_found"
    HOLD_EXPIRED = "hold_expired"
    REQUEST_EXPIRED = "request_expired"
    UNPAID_AFTER_DEADLINE = "unpaid_after_deadline"
    ALREADY_PAID = "already_paid"
    HELD_ORDER_CONFLICT = "held_order_conflict"
    WITHDRAWN = "withdrawn"
    ORDER_MISMATCH = "order_mismatch"
    PRICE_MISMATCH = "price_mismatch"
    FARE_EXCEEDED = "fare_exceeded"
    PAY_REFUSED = "pay_refused"
    ORDER_UNKNOWN = "order_unknown"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    NOT_SENT = "not_sent"
    NOT_ISSUED = "not_issued"
    OUTCOME_UNKNOWN = "outcome_unknown"
    AMOUNT_DIFFERS = "amount_differs"
    PAID_ELSEWHERE = "paid_elsewhere"
    POISON = "poison"
    CRASH_LOOP = "crash_loop"
    CALLBACK_EXHAUSTED = "callback_exhausted"
    UNEXPECTED_ERROR = "unexpected_error"


@dataclass(frozen=True, slots=True)
class ReasonRule:
    outcome: Outcome | None  # None: the purchase stays as it stands
    replay: Replay
    words: str  # on screen


_U, _A = Outcome.HELD_UNPAID, Outcome.PAID_ABNORMAL

RULES: dict[Reason, ReasonRule] = {
    Reason.CREDENTIAL_MISSING: ReasonRule(_U, Replay.AFTER_ACCOUNT, "没有该账号的12306密码"),
    Reason.WRONG_PASSWORD: ReasonRule(_U, Replay.AFTER_ACCOUNT, "12306密码错误"),
    Reason.ACCOUNT_LOCKED: ReasonRule(_U, Replay.AFTER_ACCOUNT, "12306账号被锁定"),
    Reason.CAPTCHA_REQUIRED: ReasonRule(_U, Replay.AFTER_ACCOUNT, "12306登录需要验证码"),
    Reason.HOLD_NOT_FOUND: ReasonRule(_U, Replay.NEVER, "12306上没有找到该占座订单"),
    Reason.HOLD_EXPIRED: ReasonRule(_U, Replay.NEVER, "占座已过支付期限"),
    Reason.REQUEST_EXPIRED: ReasonRule(_U, Replay.NEVER, "代付请求已过时限"),
    Reason.UNPAID_AFTER_DEADLINE: ReasonRule(_U, Replay.NEVER, "支付期限已过,核实未支付"),
    Reason.ALREADY_PAID: ReasonRule(_U, Replay.NEVER, "该占座订单已被他人支付"),
    Reason.HELD_ORDER_CONFLICT: ReasonRule(_U, Replay.NEVER, "该占座订单已用于另一订单"),
    Reason.WITHDRAWN: ReasonRule(_U, Replay.NEVER, "代付请求已撤回"),
    Reason.ORDER_MISMATCH: ReasonRule(_U, Replay.AFTER_LOOK, "占座订单与订单内容不符"),
    Reason.PRICE_MISMATCH: ReasonRule(_U, Replay.AFTER_LOOK, "占座金额与请求金额不符"),
    Reason.FARE_EXCEEDED: ReasonRule(_U, Replay.AFTER_LOOK, "占座金额超过车票费"),
    Reason.PAY_REFUSED: ReasonRule(_U, Replay.AFTER_LOOK, "支付被拒绝"),
    Reason.ORDER_UNKNOWN: ReasonRule(_U, Replay.AFTER_LOOK, "订单不存在或未支付"),
    Reason.INSUFFICIENT_FUNDS: ReasonRule(_U, Replay.AFTER_TOP_UP, "采购资金不足"),
    Reason.NOT_SENT: ReasonRule(_U, Replay.AT_ONCE, "支付未发出"),
    Reason.NOT_ISSUED: ReasonRule(_A, Replay.NEVER, "已扣款未出票"),
    Reason.OUTCOME_UNKNOWN: ReasonRule(_A, Replay.NEVER, "支付结果无法核实"),
    Reason.AMOUNT_DIFFERS: ReasonRule(_A, Replay.NEVER, "扣款金额不符"),
    Reason.PAID_ELSEWHERE: ReasonRule(_A, Replay.NEVER, "12306已支付但不是本次代付"),
    Reason.POISON: ReasonRule(None, Replay.AS_IT_STANDS, "消息无法识别"),
    Reason.CRASH_LOOP: ReasonRule(None, Replay.AS_IT_STANDS, "处理时进程反复崩溃"),
    Reason.CALLBACK_EXHAUSTED: ReasonRule(None, Replay.AS_IT_STANDS, "通知代理商失败"),
    Reason.UNEXPECTED_ERROR: ReasonRule(None, Replay.AS_IT_STANDS, "未预料的错误"),
}

OUTCOME_WORDS: dict[Outcome, str] = {
    Outcome.PURCHASED: "采购完成",
    Outcome.HELD_UNPAID: "占座成功未支付",
    Outcome.PAID_ABNORMAL: "支付完成,出票异常",
}

PAY_STATUS: dict[Outcome, str] = {
    Outcome.PURCHASED: "1",
    Outcome.HELD_UNPAID: "2",
    Outcome.PAID_ABNORMAL: "3",
}
