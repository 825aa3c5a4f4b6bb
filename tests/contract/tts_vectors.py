"""The fact sheet's test vectors (wire-protocols D); invented data, computed there with Python's hashlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KEY: Final = "0123456789ABCDEF0123456789ABCDEF"
MERCHANT: Final = "demo"
ORDER_NO: Final = "demo140221160433005636"
RESULT: Final = (
    '{"count":1,"tickets":[{"seq":"0","ticketNo":"E123456789","seatType":"4","seatNo":"05车02C号",'
    '"price":651,"passengerName":"张三","ticketType":"1"}]}'
)
PEOPLE: Final = '[{"certNo":"000000190001010000","certType":"1","name":"张三","ticketType":"1","reason":"1"}]'


@dataclass(frozen=True)
class Vector:
    name: str
    formula: str
    fields: Mapping[str, str]
    hmac: str


def _of(name: str, formula: str, hmac: str, **fields: str) -> Vector:
    return Vector(name, formula, {"merchantCode": MERCHANT, "orderNo": ORDER_NO, **fields}, hmac)


VECTORS: Final = (
    _of(
        "V1",
        "ProcessPurchase",
        "BC334775465F142653491DEFF7BCB557",
        opt="CONFIRM",
        result=RESULT,
        comment="已经出票成功",
    ),
    _of(
        "V1b",
        "ProcessPurchase",
        "2CDA1D030F9E2CA9309646E92441A740",
        opt="CONFIRM",
        result=RESULT,
        un="agent_user01",
        comment="已经出票成功",
    ),
    _of(
        "V2",
        "ProcessPurchase",
        "627F283B5107ED44C13F9FB47F67A41A",
        opt="NO_TICKET",
        reason="6",
        passengerReason=PEOPLE,
        comment="12306乘客身份信息核验失败",
    ),
    _of("V3", "NeedPay", "F39072B3A0F5640D530633BE384EC158", opt="NEED_PAY", un="agent_user01", comment="代付请求"),
    _of(
        "V3b",
        "NeedPay",
        "40C9FE720D96AA53955A4845C4EAEF83",
        opt="NEED_PAY",
        un="agent_user01",
        pw="Passw0rd",
        comment="代付请求",
    ),
    _of(
        "V3c",
        "NeedPay",
        "67236F270E181A56B572F248F3745C06",
        opt="NEED_PAY",
        result=RESULT,
        un="agent_user01",
        comment="代付请求",
    ),
    _of("query-wait-ticket", "QueryOrders", "B57A624110040E9B933C0C6D164850F8", type="WAIT_TICKET"),
    _of("query-apply-refund", "QueryOrders", "9DAD23F03DD9F4CFBE9B2C90240B6EDC", type="APPLY_REFUND"),
    _of("go-pay", "ProcessGoPay", "99A8443599678877617F0673F1A46D76", price="651.0", un="agent_user01"),
    _of("pay-result-1", "PayResult", "5B53CFE20AA15867FA8EA9B52C31BE4C", payStatus="1"),
    _of("pay-result-2", "PayResult", "DEC5E552BAC2BC46C8CB16F250A4E150", payStatus="2"),
    _of("pay-result-3", "PayResult", "7B4F6EB8E55E28BDED21B2BC3675C315", payStatus="3"),
    # of operations that daifu does not serve: the rule is the same
    _of("refund", "ProcessRefund", "6A6089922A2D68F100AC67A274FC99E4", opt="AGREE", comment="已退票", reason="0"),
    _of(
        "refund-cash",
        "ProcessRefund",
        "26A0665A94AB8C64C7800BFC41FEE98B",
        refundCash="628.00",
        opt="AGREE",
        comment="已退票",
        reason="0",
    ),
    _of("auto-refund", "ProcessApplyAutoRefund", "9BDAADC33173580BD39C043419410F0B", refundCash="12.50", reason="差价"),
    _of(
        "reserved",
        "ReserveResult",
        "2A87919D7858ADEBA0DB36A3343F1308",
        result=RESULT,
        status="success",
        comment="占座成功",
    ),
    _of("cancel", "Cancel", "11F8CB528F5C32295DC1C7A837437E9A", reqFrom="qunar", reqTime="20150320202020"),
)
