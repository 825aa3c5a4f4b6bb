"""The JSON parameters of 出票结果: `result` with its tickets, `passengerReason` with its people (wire-protocols A.4, A.6)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from schemas.fields import Code, HoldNo, Message
from schemas.orders import Ticket
from schemas.tts_fields import LooseName, Yuan, described, json_of, without_empty


class TtsTicket(Message):
    """One ticket. 2013's minimum was ticketNo, seatType, seatNo, price; the 抢票 variant says seatTypeName for seatType."""

    ticket_no: HoldNo = described("12306订单号, 同一订单的各张票相同", "ticketNo")
    seat_type: Code = Field(
        validation_alias=AliasChoices("seatType", "seatTypeName"), description="坐席代码, 没有代码的坐席写名称"
    )
    seat_no: LooseName = described("车厢和座位, 例如 05车02C号", "seatNo", default="")
    price_fen: Yuan = described("票价, 元; 数字或字符串均可", "price")
    passenger_name: LooseName = described("乘车人姓名", "passengerName", default="")
    ticket_type: Code = described("0 儿童票, 1 成人票, 2 学生票", "ticketType", default="1")
    seq: Code = described("单程为 0, 联程为第几程", "seq", default="0")

    def ticket(self) -> Ticket:
        return Ticket(
            ticket_no=self.ticket_no,
            seat_type=self.seat_type,
            seat_no=self.seat_no,
            price_fen=self.price_fen,
            passenger_name=self.passenger_name,
            ticket_type=self.ticket_type,
            seq=self.seq,
        )


class TicketResult(Message):
    """`count` is sent as number or as text and not needed: the tickets are counted."""

    tickets: tuple[Annotated[TtsTicket, BeforeValidator(without_empty)], ...] = described(
        "各张车票", "tickets", min_length=1, max_length=50, strict=False
    )


class HeldTicket(Message):
    """What NEED_PAY's `result` must say of a ticket: which held order it is in. A price counts where every ticket has one."""

    ticket_no: HoldNo = described("12306订单号, 各张票相同", "ticketNo")
    price_fen: Yuan | None = described("票价, 元", "price", default=None)


class HeldResult(Message):
    """Unlike a CONFIRM's it may be empty: then it says nothing."""

    tickets: tuple[Annotated[HeldTicket, BeforeValidator(without_empty)], ...] = described(
        "各张占座的车票", "tickets", default=(), max_length=50, strict=False
    )


class PassengerReason(Message):
    """Why one passenger can't travel. The ID number is in the order already: it is read, but neither shown nor kept again."""

    name: LooseName = described("姓名", "name", default="")
    cert_type: LooseName = described("证件类型代码", "certType", default="")
    cert_no: LooseName = described("证件号码", "certNo", default="", repr=False, exclude=True)
    ticket_type: LooseName = described("0 儿童票, 1 成人票, 2 学生票", "ticketType", default="")
    reason: LooseName = described("1 待核验, 2 未通过, 3 已购票", "reason", default="")
    pre_date: LooseName = described("reason 为 2 时: 已购车票的日期 yyyy-MM-dd", "preDate", default="")
    pre_train_no: LooseName = described("reason 为 2 时: 已购车票的车次", "preTrainNo", default="")


HeldResultText = Annotated[HeldResult, BeforeValidator(json_of, json_schema_input_type=str)]
ResultText = Annotated[TicketResult, BeforeValidator(json_of, json_schema_input_type=str)]
PassengerReasonsText = Annotated[
    tuple[Annotated[PassengerReason, BeforeValidator(without_empty)], ...],
    Field(max_length=50, strict=False),
    BeforeValidator(json_of, json_schema_input_type=str),
]
