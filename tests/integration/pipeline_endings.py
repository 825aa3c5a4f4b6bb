"""How each behaviour of the sandbox must end: INTERFACES section 7, row by row. Every NEED_PAY of these tests states its price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ending:
    """How a purchase must end, and what the oracle must have seen."""

    state: str
    reason: str | None
    pay_status: str
    pays: int
    debits: int

    @property
    def outcome(self) -> str:
        return "purchased" if self.state == "settled" else self.state


def paid(pays: int = 1, debits: int = 1) -> Ending:
    return Ending("settled", None, "1", pays, debits)


def unpaid(reason: str, pays: int = 0) -> Ending:
    return Ending("held_unpaid", reason, "2", pays, 0)


def abnormal(reason: str, debits: int = 1) -> Ending:
    return Ending("paid_abnormal", reason, "3", 1, debits)


ENDINGS: Final[dict[str, Ending]] = {
    "ok": paid(),
    "busy_then_ok": paid(),
    "session_taken_over": paid(),
    "unpaid_list_empty_at_first": paid(),
    "timeout_paid": paid(),
    "reset_after_pay": paid(),
    "error_paid": paid(),
    "garbage": paid(),
    "late_pay": paid(),
    "wrong_password": unpaid("wrong_password"),
    "account_locked": unpaid("account_locked"),
    "captcha": unpaid("captcha_required"),
    "hold_not_found": unpaid("hold_not_found"),
    "hold_expired": unpaid("hold_expired"),
    "price_changed": unpaid("price_mismatch"),
    "passenger_mismatch": unpaid("order_mismatch"),
    "already_paid": unpaid("already_paid"),
    "refuse": unpaid("pay_refused", 1),
    "reset_before_read": unpaid("unpaid_after_deadline"),
    "timeout_unpaid": unpaid("unpaid_after_deadline", 1),
    "error_unpaid": unpaid("unpaid_after_deadline", 1),
    "redirect_307": unpaid("unpaid_after_deadline", 1),
    "paid_not_issued": abnormal("not_issued"),
    "takes_other_amount": abnormal("amount_differs"),
    "mute_after_pay": abnormal("outcome_unknown"),
    "paid_then_refunded": abnormal("not_issued"),
    "agent_pays_after_look": abnormal("paid_elsewhere", 0),
}
