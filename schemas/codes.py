"""Code tables of the TTS interface (wire-protocols A.6), as three independent clients used them."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

SEAT_NAMES: dict[str, str] = {
    "0": "无座",
    "1": "硬座",
    "2": "软座",
    "3": "一等座",
    "4": "二等座",
    "5": "硬卧上",
    "6": "硬卧中",
    "7": "硬卧下",
    "8": "软卧上",
    "9": "软卧下",
    "10": "高级软卧上",
    "11": "高级软卧下",
    "12": "特等座",
    "13": "商务座",
}
SEAT_CODES: dict[str, str] = {name: code for code, name in SEAT_NAMES.items()}
_OTHER_SEAT_NAMES = {"站票": "无座", "一等软座": "一等座", "二等软座": "二等座"}  # 一等(软)座: both were written

TICKET_TYPES: dict[str, str] = {"0": "儿童票", "1": "成人票", "2": "学生票"}
ID_TYPES: dict[str, str] = {
    "1": "二代身份证",
    "2": "一代身份证",
    "C": "港澳通行证",
    "G": "台湾通行证",
    "B": "护照",
    "H": "外国人居留证",
}

NoTicketCode = Literal["0", "1", "2", "3", "4", "5", "6", "7"]
NO_TICKET_OTHER: NoTicketCode = "0"
NO_TICKET_SOLD_OUT: NoTicketCode = "1"
NO_TICKET_BOUGHT_BEFORE: NoTicketCode = "2"
NO_TICKET_PRICE_DIFFERS: NoTicketCode = "3"
NO_TICKET_TRAIN_DIFFERS: NoTicketCode = "4"
NO_TICKET_PASSENGER_WRONG: NoTicketCode = "5"
NO_TICKET_IDENTITY_UNPROVEN: NoTicketCode = "6"  # passengerReason required
NO_TICKET_IDENTITY_MISUSED: NoTicketCode = "7"
NO_TICKET_REASONS: dict[NoTicketCode, str] = {
    NO_TICKET_OTHER: "其他",
    NO_TICKET_SOLD_OUT: "所购买的车次坐席已无票",
    NO_TICKET_BOUGHT_BEFORE: "身份证件已经实名制购票,不能再次购买同日期同车次的车票",
    NO_TICKET_PRICE_DIFFERS: "qunar票价和12306不符",
    NO_TICKET_TRAIN_DIFFERS: "车次数据与12306不一致",
    NO_TICKET_PASSENGER_WRONG: "乘客信息错误",
    NO_TICKET_IDENTITY_UNPROVEN: "12306乘客身份信息核验失败",
    NO_TICKET_IDENTITY_MISUSED: "12306乘客身份信息被冒用",
}


def _digit(value: object) -> object:
    return str(value) if type(value) is int and 0 <= value < len(get_args(NoTicketCode)) else value


NoTicketReason = Annotated[NoTicketCode, BeforeValidator(_digit, json_schema_input_type=NoTicketCode | int)]
"""As a message carries it: clients send the code as number or as string."""


def seat_name(code: str) -> str:
    """硬卧下 for 7; what is no code is taken for a name (AM keys newer seats by name) and put into its usual form."""
    name = SEAT_NAMES.get(code, code)
    return _OTHER_SEAT_NAMES.get(name, name)


def seat_code(name: str) -> str | None:
    """7 for 硬卧下; None for a seat the TTS interface has no code for."""
    return SEAT_CODES.get(_OTHER_SEAT_NAMES.get(name, name))
