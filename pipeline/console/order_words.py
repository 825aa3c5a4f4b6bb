"""What the pages of orders call things; part of `words`."""

from __future__ import annotations

from collections.abc import Mapping

QUICK: Mapping[str, str] = {
    "paid": "已支付订单",
    "waiting": "等待出票订单",
    "presale": "预售期外待出票订单",
    "refund": "申请退款订单",
    "all": "全部",
    "urgent": "紧急订单",
    "failed": "采购失败",
}
SCOPES_OF_ORDERS: Mapping[str, str] = {"week": "最近 7 天", "month": "最近 30 天", "quarter": "最近 90 天"}
# States of a purchase that say more than its order's state.
TELLING = ("accepted", "ready", "paying", "in_doubt", "held_unpaid", "paid_abnormal", "never_debited")
LEDGER_ACCOUNTS: Mapping[str, str] = {
    "frozen": "冻结",
    "procurement": "采购资金",
    "in_flight": "采购在途",
    "available": "可用",
    "refund": "退款账户",
    "user": "用户",
    "railway": "12306",
    "bank": "银行",
}
POSTINGS: Mapping[str, str] = {
    "freeze": "冻结",
    "hold": "占用采购资金",
    "post": "支付入账",
    "void": "释放采购资金",
    "found_payment": "补记支付",
    "unfreeze": "解冻",
    "departure_unfreeze": "发车后解冻",
    "full_refund": "全额退款",
    "railway_refund": "12306退款",
    "top_up": "充值",
}
