"""From 12306's last page to a `PaymentForm`: what the cashier will be asked must be what 12306 says is owed (B.3)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from yarl import URL

from pipeline.errors import Garbled
from pipeline.ports import PaymentForm
from pipeline.railway.envelope import COMPACT, Fields, fen_of_yuan, moment, text_of
from pipeline.railway.http_errors import clip
from pipeline.railway.pages import Form, read_forms
from pipeline.railway.safe_xml import child_text, read_xml

PAY_ORDER_PREFIX: Final = "3"  # B.2: 12306's pay order id is `3` + sequence_no + digits
AMOUNT_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class TranData:
    """What 12306 signed: the trade number at the cashier, the amount in fen, the deadline."""

    trade_no: str
    amount_fen: int
    deadline: datetime


def read_tran_data(pay_form: Fields) -> TranData:
    """The `<PayReq>` inside `payForm.tranData`, base64 with or without line breaks. Raises Garbled."""
    try:
        packed = "".join(text_of(pay_form, "tranData").split())
        root = read_xml(base64.b64decode(packed, validate=True))
        amount = child_text(root, "amount")
        if root.tag != "PayReq" or not (amount.isascii() and amount.isdigit() and len(amount) <= AMOUNT_DIGITS):
            raise ValueError("not a PayReq with an amount in fen")
        return TranData(
            trade_no=child_text(root, "orderId"),
            amount_fen=int(amount),
            deadline=moment(child_text(root, "orderTimeoutDate"), COMPACT),
        )
    except (ValueError, binascii.Error) as error:
        raise Garbled("railway", clip(f"tranData can't be read: {error}")) from None


def read_payment_form(page: str, hold_no: str, owed: TranData, gateway: URL) -> PaymentForm:
    """The cashier form of the last page, checked against `owed`. Raises Garbled naming the first difference.

    A form for another amount, trade, deadline or address is never handed on: sending it could move other money.
    """
    try:
        form = _only_form(page)
        values = form.values()
        checks = {
            "action": _same_place(URL(form.action), gateway),
            "method": form.method == "post",
            "hold": owed.trade_no.startswith(PAY_ORDER_PREFIX + hold_no),
            "ord_id_ext": values.get("ord_id_ext") == owed.trade_no,
            "ord_amt": fen_of_yuan(values.get("ord_amt", "")) == owed.amount_fen,
            "ord_pmt_timeout": moment(values.get("ord_pmt_timeout", ""), COMPACT) == owed.deadline,
            "amount above zero": owed.amount_fen > 0,
        }
    except ValueError as error:
        raise Garbled("railway", f"the cashier form can't be read: {type(error).__name__}") from None
    for name, holds in checks.items():
        if not holds:
            raise Garbled("railway", f"the cashier form differs from tranData or from our settings: {name}")
    return PaymentForm(hold_no, owed.trade_no, owed.amount_fen, owed.deadline, tuple(form.inputs))


def _only_form(page: str) -> Form:
    forms = read_forms(page)
    if len(forms) != 1 or not forms[0].action:
        raise Garbled("railway", f"a pay page with {len(forms)} forms")
    return forms[0]


def _same_place(action: URL, gateway: URL) -> bool:
    """Scheme, host, port and path; credentials, a query or a fragment in the action are a difference."""
    plain = action.user is None and action.password is None and not action.query_string and not action.fragment
    same = (action.scheme, action.host, action.port, action.path) == (
        gateway.scheme,
        gateway.host,
        gateway.port,
        gateway.path,
    )
    return plain and same
