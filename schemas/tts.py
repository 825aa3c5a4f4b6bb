"""The forms of the agents' interface 出票结果, 代付请求 and 订单查询 (INTERFACES section 4, wire-protocols A.3).

A form's fields carry the parameter's name and its Chinese description; `daifu schemas export` writes the agents' document from
them. The 12306 password of NEED_PAY is no field of any form: its name is a setting, and whoever reads it seals it at once.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from schemas.codes import NO_TICKET_IDENTITY_UNPROVEN, NoTicketCode
from schemas.fields import Account, AgentCode, Message, OrderNo
from schemas.orders import Ticket
from schemas.problems import problems_of
from schemas.tts_fields import LooseComment, LooseName, Yuan, described
from schemas.tts_forms import Form, FormError
from schemas.tts_signature import PROCESS_GO_PAY, PROCESS_PURCHASE, QUERY_ORDERS
from schemas.tts_tickets import HeldResult, HeldResultText, PassengerReasonsText, ResultText

NEED_PAY, CONFIRM, NO_TICKET = "NEED_PAY", "CONFIRM", "NO_TICKET"
WAIT_TICKET, APPLY_REFUND = "WAIT_TICKET", "APPLY_REFUND"
PAY_STATUSES: dict[str, str] = {
    "1": "采购完成: 已支付并出票",
    "2": "占座成功未支付: 采购资金未动用, 可线下登陆12306处理, 或重新请求代付",
    "3": "支付完成,出票异常: 请登陆12306核实, 不能重新请求代付",
}

FormT = TypeVar("FormT", bound="TtsForm")


class TtsForm(Message):
    """One request. `signed` is the order of the signature's fields."""

    signed: ClassVar[tuple[str, ...]] = ()

    merchant_code: AgentCode = described("代理商代码", "merchantCode")
    hmac: str = described("签名, 见“签名”一节", "HMAC", min_length=1, repr=False)


class QueryOrdersForm(TtsForm):
    signed: ClassVar[tuple[str, ...]] = QUERY_ORDERS

    type: Literal["WAIT_TICKET", "APPLY_REFUND"] = described(
        "WAIT_TICKET 等待出票的订单, APPLY_REFUND 用户申请退款的订单", "type"
    )


class OrderForm(TtsForm):
    order_no: OrderNo = described("AM订单号", "orderNo")
    comment: LooseComment = described("备注", "comment", default="")


class GoPayForm(OrderForm):
    """代付请求: names no held order; the account's one unpaid order that matches is meant."""

    signed: ClassVar[tuple[str, ...]] = PROCESS_GO_PAY

    price_fen: Yuan = described("占座订单的总金额, 元, 例如 631.0", "price")
    account: Account = described("12306登录账号", "un")


class PurchaseForm(OrderForm):
    signed: ClassVar[tuple[str, ...]] = PROCESS_PURCHASE


class NeedPayForm(PurchaseForm):
    opt: Literal["NEED_PAY"] = described("操作类型 NEED_PAY", "opt")
    account: Account = described("12306登录账号", "un")
    result: HeldResultText = described(
        "占座结果, JSON, 每张票至少有 ticketNo (占座订单号); 各张票都有 price 时, 其和为请求金额",
        "result",
        default=HeldResult(),
    )

    @property
    def hold_numbers(self) -> tuple[str, ...]:
        """The held orders that the tickets name, each once."""
        return tuple(sorted({ticket.ticket_no for ticket in self.result.tickets}))

    @property
    def stated_fen(self) -> int | None:
        """The price that was stated, in fen: the sum of the tickets', where each has one."""
        prices = [ticket.price_fen for ticket in self.result.tickets]
        known = [price for price in prices if price is not None]
        return sum(known) if known and len(known) == len(prices) else None

    @model_validator(mode="after")
    def _one_held_order(self) -> Self:
        if len(self.hold_numbers) > 1:
            raise PydanticCustomError("holds", "result.tickets name more than one held order")
        return self


class ConfirmForm(PurchaseForm):
    opt: Literal["CONFIRM"] = described("操作类型 CONFIRM", "opt")
    result: ResultText = described("出票结果, JSON", "result")
    account: LooseName = described("12306登录账号, 可不传", "un", default="")

    @property
    def tickets(self) -> tuple[Ticket, ...]:
        return tuple(ticket.ticket() for ticket in self.result.tickets)


class NoTicketForm(PurchaseForm):
    opt: Literal["NO_TICKET"] = described("操作类型 NO_TICKET", "opt")
    reason: NoTicketCode = described("无票原因代码 0–7", "reason")
    passenger_reason: PassengerReasonsText = described(
        "乘车人原因, JSON数组; reason 为 6 时必传", "passengerReason", default=()
    )
    account: LooseName = described("12306登录账号, 可不传", "un", default="")

    @model_validator(mode="after")
    def _people_for_reason_six(self) -> Self:
        """The sheet calls it required (A.6), and l9e itself falls back to reason 0 where it has none (A.3)."""
        if self.reason == NO_TICKET_IDENTITY_UNPROVEN and not self.passenger_reason:
            raise PydanticCustomError("passengers", "passengerReason is required for reason 6")
        return self


PURCHASE_FORMS: dict[str, type[NeedPayForm] | type[ConfirmForm] | type[NoTicketForm]] = {
    NEED_PAY: NeedPayForm,
    CONFIRM: ConfirmForm,
    NO_TICKET: NoTicketForm,
}


class Callback(Message):
    """What we post to the agent's address; its answer is `{"ret":true}`, or false with `msg`."""

    order_no: OrderNo = described("AM订单号", "orderNo")
    pay_status: Literal["1", "2", "3"] = described("代付结果, 见下表", "payStatus")
    hmac: str = Field(alias="HMAC", description="签名")


def read(kind: type[FormT], form: Form) -> FormT:
    """The form as `kind`; an empty text is a missing parameter. Raises FormError naming the first wrong parameter."""
    names = [field.alias or name for name, field in kind.model_fields.items()]
    given = {name: text for name in names if (text := form.get(name)) != ""}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problem = problems_of(error)[0]
    # outside of the except: the ValidationError knows what was sent and must not hang on as the context
    raise FormError(problem.field if problem.field != "body" else "", problem.reason)
