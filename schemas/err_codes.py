"""errCode of the agents' interface and its words (INTERFACES section 4). One table for the door, the queue and the documents."""

from __future__ import annotations

from enum import StrEnum


class ErrCode(StrEnum):
    ALREADY_PURCHASED = "008"
    BAD_PARAMETER = "101"
    UNKNOWN_AGENT = "102"
    BAD_SIGNATURE = "103"
    UNKNOWN_OPERATION = "104"
    UNKNOWN_ORDER = "112"
    JOINT_TRIP = "201"
    NOT_PAID = "202"
    CLOSED = "203"
    HOLD_CONFLICT = "204"
    PAID_ABNORMAL = "205"
    NOT_IN_THIS_STATE = "206"
    REFUND_REQUESTED = "207"
    TOO_MANY = "429"
    NOT_STORED = "999"


ERR_WORDS: dict[ErrCode, str] = {
    ErrCode.ALREADY_PURCHASED: "订单已采购完成",
    ErrCode.BAD_PARAMETER: "参数缺失或格式错误",
    ErrCode.UNKNOWN_AGENT: "未知的代理商",
    ErrCode.BAD_SIGNATURE: "签名错误",
    ErrCode.UNKNOWN_OPERATION: "未知的操作类型",
    ErrCode.UNKNOWN_ORDER: "未知的订单号",
    ErrCode.JOINT_TRIP: "目前仅支持单程,不支持联程",
    ErrCode.NOT_PAID: "用户尚未支付",
    ErrCode.CLOSED: "订单已关闭或已线下出票",
    ErrCode.HOLD_CONFLICT: "订单正在用另一占座订单采购",
    ErrCode.PAID_ABNORMAL: "“支付完成,出票异常”的订单只能登陆12306核实,不能重新导回到AM、执行代付",
    ErrCode.NOT_IN_THIS_STATE: "订单当前状态不允许此操作",
    ErrCode.REFUND_REQUESTED: "用户已申请退款",
    ErrCode.TOO_MANY: "请求过于频繁",
    ErrCode.NOT_STORED: "未能保存,请重新发送",
}
